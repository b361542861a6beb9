"""What a person sees at the end of a run: the table, the protocol, the costs, and the learning curve."""

from __future__ import annotations

import itertools
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from m6rec_core.files import replacing
from m6rec_core.metrics import METRICS, Interval
from m6rec_core.runs.compare import Comparison, Line
from m6rec_core.training.history import read_history
from m6rec_core.types import ReportTable


def cell(interval: Interval | None, signed: bool = False) -> str:
    """A value with its 95 % interval, `.751 [.742, .760]`; `n/a` where it is not defined."""
    if interval is None or math.isnan(interval.value):
        return "n/a"
    return f"{_short(interval.value, signed)} [{_short(interval.low, signed)}, {_short(interval.high, signed)}]"


def _short(value: float, signed: bool) -> str:
    text = f"{value:+.3f}" if signed else f"{value:.3f}"
    return text.replace("0.", ".", 1) if abs(value) < 1 else text


def header(comparison: Comparison) -> list[str]:
    """Column titles of the table."""
    warm, cold = (comparison.counts.get(part, (0, 0))[0] for part in ("warm", "cold"))
    first = _title(comparison.metrics[0])
    return [
        "model",
        *(_title(m) for m in comparison.metrics),
        f"{first}, {warm:,} warm rows",
        f"{first}, {cold:,} cold rows",
        f"lead of the model in {first}",
    ]


def _title(metric: str) -> str:
    words = metric.replace("_", " ")
    if len(words) <= 4:
        return words.upper()
    known = METRICS.get(metric)
    return words + (" (less is better)" if known is not None and not known.higher_is_better else "")


def table_rows(comparison: Comparison) -> list[list[str]]:
    """The cells of the table, a list per model."""
    first = comparison.metrics[0]

    def row(line: Line) -> list[str]:
        everything = line.slices.get("all", {})
        apart = [cell(line.slices.get(part, {}).get(first)) for part in ("warm", "cold")]
        lead = "" if line.lead is None else cell(line.lead, signed=True)
        return [line.name, *(cell(everything.get(m)) for m in comparison.metrics), *apart, lead]

    return [row(line) for line in comparison.lines]


def comparison_table(comparison: Comparison) -> ReportTable:
    """The comparison as a table for people."""
    rows = tuple(tuple(row) for row in table_rows(comparison))
    return ReportTable("95 % bootstrap intervals in brackets", tuple(header(comparison)), rows)


def print_tables(tables: Sequence[ReportTable], facts: Sequence[tuple[str, str]], stages: Mapping[str, float]) -> None:
    """Print tables and facts to standard output: rich on a terminal, plain text when piped."""
    for number, table in enumerate(tables):
        if len(tables) > 1 and not sys.stdout.isatty():
            print(f"{chr(10) if number else ''}{table.title}")
        print_table(table.columns, table.rows, table.title)
    taken = [("time", ", ".join(f"{n} {s:.0f} s" for n, s in stages.items()))] if stages else []
    for name, text in [*facts, *taken]:
        print(f"{name + ':':<12} {text}")


def print_table(titles: Sequence[str], rows: Sequence[Sequence[str]], title: str) -> None:
    """Print a table to standard output, the first row standing out: rich on a terminal, plain columns when piped."""
    if not sys.stdout.isatty():
        print(plain_table(titles, rows))
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=escape(title), title_justify="left")
    for column, name in enumerate(titles):
        table.add_column(escape(name), justify="left" if column == 0 else "right", no_wrap=column == 0)
    for index, row in enumerate(rows):
        table.add_row(*map(escape, row), style="bold" if index == 0 else None)
    Console().print(table)


def plain_table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns of equal width, two blanks apart."""
    lines = [list(titles), *map(list, rows)]
    widths = [max(len(line[c]) for line in lines) for c in range(len(titles))]
    return "\n".join("  ".join(text.ljust(w) for text, w in zip(line, widths, strict=True)).rstrip() for line in lines)


def plot_curve(history: Path, target: Path, references: Mapping[str, float], metric: str) -> None:
    """Draw the training loss and the valid metric over the steps as a PNG.

    `references`: name -> value of the same metric on the same valid rows, drawn as grey lines.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = read_history(history)
    figure = Figure(figsize=(10, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    losses, valid = figure.subplots(1, 2)
    _draw_losses(losses, [r for r in rows if r.get("loss") is not None])
    points = [(r["step"], r["valid"][metric]) for r in rows if r.get("valid", {}).get(metric) is not None]
    valid.plot([p[0] for p in points], [p[1] for p in points], marker="o", label="model")
    defined = {name: value for name, value in references.items() if math.isfinite(value)}
    for (name, value), style in zip(defined.items(), itertools.cycle(("--", ":", "-.")), strict=False):
        valid.axhline(value, linestyle=style, color="grey", label=name)
    valid.set(title=f"valid {_title(metric)}", xlabel="step")
    valid.legend(fontsize="small")
    for axes in (losses, valid):
        axes.xaxis.get_major_locator().set_params(integer=True)
    with replacing(target) as partial:
        figure.savefig(partial, format="png", dpi=120)


def _draw_losses(axes: Any, rows: Sequence[Mapping[str, Any]]) -> None:
    """Each step faintly, and the mean of the last steps."""
    numbers, values = [r["step"] for r in rows], [r["loss"] for r in rows]
    window = max(1, len(values) // 20)
    recent = [values[max(0, i - window + 1) : i + 1] for i in range(len(values))]
    axes.plot(numbers, values, alpha=0.3 if window > 1 else 1.0, label="each step")
    if window > 1:
        axes.plot(numbers, [sum(part) / len(part) for part in recent], label=f"mean of {window} steps")
    axes.set(title="training loss per sample", xlabel="step")
    if rows:
        axes.legend(fontsize="small")
