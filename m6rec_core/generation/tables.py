"""The tables of a report on texts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from m6rec_core.metrics.bootstrap import Interval
from m6rec_core.metrics.text import TextScore, text_metric
from m6rec_core.types import ReportTable

EXAMPLES = 5
SHOWN = 70
"""Characters of a text in the table of examples."""


def score_table(title: str, names: Sequence[str], scores: Mapping[str, Mapping[str, TextScore]]) -> ReportTable:
    """Systems by metrics, each value with its 95 % interval; systems that have none of the metrics are left out."""
    rows = [
        (system, *(cell(line.get(name)) for name in names)) for system, line in scores.items() if {*names} & {*line}
    ]
    return ReportTable(f"{title} (95 % intervals in brackets)", ("model", *map(_heading, names)), tuple(rows))


def difference_table(model: str, names: Sequence[str], leads: Mapping[str, Mapping[str, Interval]]) -> ReportTable:
    """The model minus each other system, paired; `*` where the interval excludes 0."""
    rows = tuple(
        (f"{model} - {other}", *(signed_cell(line.get(name)) for name in names)) for other, line in leads.items()
    )
    title = "paired differences on the same rows (* the 95 % interval excludes 0)"
    return ReportTable(title, ("difference", *map(_heading, names)), rows)


def example_table(
    questions: Sequence[str], references: Sequence[str], texts: Mapping[str, Sequence[str]]
) -> ReportTable:
    """The first rows: what was asked, the reference, and what each system wrote."""
    rows = []
    for row in range(min(EXAMPLES, len(questions))):
        rows.append(("asked", _short(questions[row])))
        rows.append(("reference", _short(references[row])))
        rows += [(name, _short(found[row]) or "(nothing)") for name, found in texts.items()]
    return ReportTable("the first test rows", ("", "text"), tuple(rows))


def cell(score: TextScore | None) -> str:
    """A value with its interval, `.751 [.742, .760]`; "" where the system has none, `n/a` where it is not defined."""
    if score is None:
        return ""
    if math.isnan(score.value):
        return "n/a"
    interval = score.interval
    return number(score.value) if interval is None or math.isnan(interval.low) else interval_cell(interval)


def interval_cell(interval: Interval) -> str:
    """`.751 [.742, .760]`."""
    return f"{number(interval.value)} [{number(interval.low)}, {number(interval.high)}]"


def number(value: float) -> str:
    """Three digits behind the point below 10, one below 1000, none above."""
    if abs(value) >= 10.0:
        return f"{value:.1f}" if abs(value) < 1000.0 else f"{value:.3g}"
    text = f"{value:.3f}"
    return text.replace("0.", ".", 1) if abs(value) < 1.0 else text


def as_json(score: TextScore) -> dict[str, Any]:
    """A score for machines."""
    found = {} if score.interval is None else interval_json(score.interval)
    return {**found, "value": score.value, "signature": score.signature}


def interval_json(interval: Interval) -> dict[str, float]:
    """An interval for machines."""
    return {"value": interval.value, "low": interval.low, "high": interval.high}


def signed_cell(interval: Interval | None) -> str:
    """A difference, `+.012*` where its interval excludes 0; "" where there is none, `n/a` where it is not defined."""
    if interval is None:
        return ""
    if math.isnan(interval.value):
        return "n/a"
    return f"{'+' if interval.value >= 0 else ''}{number(interval.value)}{'*' if interval.excludes_zero else ''}"


def _heading(name: str) -> str:
    return name.replace("_", " ") + ("" if text_metric(name).higher_is_better else " (less is better)")


def _short(text: str) -> str:
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 1]}…"
