"""95 % percentile bootstrap intervals (Efron and Tibshirani 1993, chapter 13), by rows or by users, seeded.

A resample is drawn as counts (how often each row occurs), so scores are sorted once and not once per resample. The same
`seed`, number of rows (or clusters) and number of resamples give the same resamples: intervals of several models on the
same rows are comparable, and `paired_difference` evaluates both models on each resample.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from m6rec_core.errors import ConfigError, DataError
from m6rec_core.metrics.ranking import FloatArray, IntArray, MetricInput, user_codes
from m6rec_core.metrics.registry import Metric
from m6rec_core.metrics.weighted import Weighted

_CELLS = 400_000
"""Weights per chunk: 3 MB of float64, small enough for a processor's cache and for any number of rows."""


@dataclass(frozen=True, slots=True)
class Bootstrap:
    """How to resample: how often, from which seed, and the share of resamples an interval covers.

    Raises:
        ConfigError: no resamples, or a level outside (0, 1).
    """

    resamples: int = 1000
    seed: int = 0
    level: float = 0.95

    def __post_init__(self) -> None:
        """Check the ranges."""
        if self.resamples < 1:
            raise ConfigError(f"bootstrap: {self.resamples} resamples; give at least 1 (1000 is usual)")
        if not 0.0 < self.level < 1.0:
            raise ConfigError(f"bootstrap: level {self.level} is not between 0 and 1; 0.95 is usual")


DEFAULT = Bootstrap()


@dataclass(frozen=True, slots=True)
class Interval:
    """A metric's value on the rows, and where 95 % of its resamples fall. nan where it is not defined.

    `resamples` counts those on which the metric was defined.
    """

    value: float
    low: float
    high: float
    resamples: int

    @property
    def excludes_zero(self) -> bool:
        """Whether the whole interval lies on one side of zero: for a paired difference, a claim may be made."""
        return self.low > 0.0 or self.high < 0.0


def resample_weights(rows: int, plan: Bootstrap, clusters: IntArray | None = None) -> Iterator[FloatArray]:
    """Yield chunks of weights [r, rows]; together `plan.resamples` of them. Each line counts how often a row was drawn.

    With `clusters` (dense codes [rows]) whole clusters are drawn, as many as there are.
    """
    generator = np.random.default_rng(plan.seed)
    units = rows if clusters is None else int(clusters.max()) + 1 if rows else 0
    chunk = max(1, _CELLS // max(rows, 1))
    for start in range(0, plan.resamples, chunk):
        size = min(chunk, plan.resamples - start)
        drawn = generator.integers(0, max(units, 1), size=(size, units), dtype=np.int32)
        flat = drawn + (np.arange(size, dtype=np.int64) * units)[:, None]
        counts = np.bincount(flat.ravel(), minlength=size * units).reshape(size, units).astype(np.float64)
        yield counts if clusters is None else counts[:, clusters]


def _weighted(metric: Metric, data: MetricInput) -> Weighted:
    """Return the metric's weighted form, or one that repeats rows for metrics without it."""
    if metric.weighted is not None:
        return metric.weighted(data)

    def repeat_rows(weights: FloatArray) -> FloatArray:
        values = []
        for line in weights.astype(np.int64):
            index = np.repeat(np.arange(line.size), line)
            values.append(metric.function(_take(data, index)))
        return np.asarray(values, dtype=np.float64)

    return repeat_rows


def _take(data: MetricInput, index: IntArray) -> MetricInput:
    return MetricInput(
        data.label[index],
        data.score[index],
        None if data.probability is None else data.probability[index],
        None if data.user is None else data.user[index],
    )


def percentile_interval(value: float, samples: FloatArray, level: float) -> Interval:
    """Return where the middle `level` of the resampled values [R] lies; undefined (nan) resamples are left out."""
    defined = samples[~np.isnan(samples)]
    if defined.size == 0 or np.isnan(value):
        return Interval(value, float("nan"), float("nan"), 0)
    tail = 100.0 * (1.0 - level) / 2.0
    low, high = np.percentile(defined, [tail, 100.0 - tail])
    return Interval(value, float(low), float(high), int(defined.size))


def bootstrap_intervals(
    metrics: Sequence[Metric],
    data: MetricInput,
    *,
    plan: Bootstrap = DEFAULT,
    clusters: ArrayLike | None = None,
) -> dict[str, Interval]:
    """Return an interval for each metric, all from the same resamples of the rows.

    `clusters` [n]: draw whole clusters (users: rows of one user are correlated, so row intervals are too narrow for the
    question "on other users"); default draws rows.

    Raises:
        DataError: another number of cluster ids than rows.
    """
    rows = data.label.size
    codes = None if clusters is None else user_codes(clusters, rows)
    functions = [_weighted(metric, data) for metric in metrics]
    found: list[list[FloatArray]] = [[] for _ in metrics]
    for weights in resample_weights(rows, plan, codes):
        for values, function in zip(found, functions, strict=True):
            values.append(function(weights))
    return {
        metric.name: percentile_interval(metric.function(data), np.concatenate(values), plan.level)
        for metric, values in zip(metrics, found, strict=True)
    }


def bootstrap_interval(
    metric: Metric,
    data: MetricInput,
    *,
    plan: Bootstrap = DEFAULT,
    clusters: ArrayLike | None = None,
) -> Interval:
    """Return one metric's interval; see `bootstrap_intervals`."""
    return bootstrap_intervals([metric], data, plan=plan, clusters=clusters)[metric.name]


def paired_difference(
    metric: Metric,
    model: MetricInput,
    baseline: MetricInput,
    *,
    plan: Bootstrap = DEFAULT,
    clusters: ArrayLike | None = None,
) -> Interval:
    """Return the interval of model minus baseline, both evaluated on each resample of the same rows.

    Much narrower than the two intervals suggest, because both models err on the same rows.

    Raises:
        DataError: the two do not have the same labels in the same order.
    """
    if not np.array_equal(model.label, baseline.label):
        raise DataError(
            "paired difference: the predictions do not have the same labels; score the same rows in one order"
        )
    rows = model.label.size
    codes = None if clusters is None else user_codes(clusters, rows)
    first, second = _weighted(metric, model), _weighted(metric, baseline)
    chunks = resample_weights(rows, plan, codes)
    differences = np.concatenate([first(weights) - second(weights) for weights in chunks])
    return percentile_interval(metric.function(model) - metric.function(baseline), differences, plan.level)
