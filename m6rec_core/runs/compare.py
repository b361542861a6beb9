"""The honest comparison: the model and every baseline on the same rows, with intervals, warm and cold rows apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from m6rec_core.metrics import METRICS, Bootstrap, Interval, Metric, MetricInput, bootstrap_intervals, paired_difference

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Contender:
    """One model's answers on the test rows: `score` [n] ranks, `probability` [n] of a positive."""

    name: str
    score: Floats
    probability: Floats
    info: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Line:
    """One row of the table: metric name -> interval, by slice ("all", "warm", "cold").

    `lead`: the model's lead in the first metric over this contender (paired; None for the model itself).
    """

    name: str
    slices: Mapping[str, Mapping[str, Interval]]
    lead: Interval | None
    info: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Comparison:
    """The finished table: the model's lines first, then the baselines'. `counts`: rows and positives of each slice."""

    metrics: tuple[str, ...]
    lines: tuple[Line, ...]
    counts: Mapping[str, tuple[int, int]]

    def as_json(self) -> dict[str, Any]:
        """The table as JSON values; the signature says which variant of each metric was computed."""
        return {
            "signatures": {name: METRICS[name].signature for name in self.metrics},
            "rows": {name: {"rows": n, "positive": p} for name, (n, p) in self.counts.items()},
            "models": {
                line.name: {
                    **{part: {m: _interval(i) for m, i in found.items()} for part, found in line.slices.items()},
                    "lead": None if line.lead is None else _interval(line.lead),
                    "info": dict(line.info),
                }
                for line in self.lines
            },
        }


def compare(
    model: Contender,
    others: Sequence[Contender],
    label: Floats,
    user: NDArray[np.int64],
    cold: NDArray[np.bool_],
    metrics: Sequence[str],
    resamples: int,
) -> Comparison:
    """Compare `model` with `others` on n test rows: `label`, `user` codes and `cold` flags are [n].

    Every interval uses the same resamples of rows; `lead` is the interval of the model's first metric minus the
    contender's on those resamples (for metrics where less is better the sign is turned, so that a lead is positive).
    """
    plan = Bootstrap(resamples=resamples)
    chosen = [METRICS[name] for name in metrics]
    parts = {"all": np.ones(len(label), bool), "warm": ~cold, "cold": cold}
    lines = []
    for one in (model, *others):
        slices = {part: _intervals(chosen, one, label, user, rows, plan) for part, rows in parts.items() if rows.any()}
        lead = None if one is model else _lead(chosen[0], model, one, label, user, plan)
        lines.append(Line(one.name, slices, lead, one.info))
    counts = {part: (int(rows.sum()), int(label[rows].sum())) for part, rows in parts.items()}
    return Comparison(tuple(metrics), tuple(lines), counts)


def _input(one: Contender, label: Floats, user: NDArray[np.int64], rows: NDArray[np.bool_]) -> MetricInput:
    return MetricInput(label[rows], one.score[rows], one.probability[rows], user[rows])


def _intervals(
    metrics: Sequence[Metric],
    one: Contender,
    label: Floats,
    user: NDArray[np.int64],
    rows: NDArray[np.bool_],
    plan: Bootstrap,
) -> dict[str, Interval]:
    return bootstrap_intervals(metrics, _input(one, label, user, rows), plan=plan)


def _lead(
    metric: Metric, model: Contender, other: Contender, label: Floats, user: NDArray[np.int64], plan: Bootstrap
) -> Interval:
    rows = np.ones(len(label), bool)
    first, second = _input(model, label, user, rows), _input(other, label, user, rows)
    if metric.higher_is_better:
        return paired_difference(metric, first, second, plan=plan)
    return paired_difference(metric, second, first, plan=plan)


def _interval(interval: Interval) -> dict[str, float]:
    return {"value": interval.value, "low": interval.low, "high": interval.high}
