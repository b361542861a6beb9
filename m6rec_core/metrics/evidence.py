"""What the rows say about a metric of generated texts or ranked items, kept so that intervals and differences follow.

Two kinds. `RowSums`: the metric is a function of sums over the rows (a mean, a perplexity, corpus BLEU); its interval
is the percentile bootstrap of `m6rec_core.metrics.bootstrap`. `LeaveOneOut`: the metric counts distinct things or pairs
of rows (Dist-n, FCR, USR, DIV, coverage). There a bootstrap is wrong: a resample repeats rows, so it holds fewer
distinct things and pairs of a row with itself, and its interval need not even hold the value. Theirs is that of the
jackknife, value +- z * standard error, whose variance is not too small in expectation for functions of independent rows
(Efron and Stein 1981).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike

from m6rec_core.errors import DataError
from m6rec_core.metrics.bootstrap import DEFAULT, Bootstrap, Interval, percentile_interval, resample_weights
from m6rec_core.metrics.ranking import FloatArray

Combine = Callable[[FloatArray], FloatArray]
"""Sums [R, S] -> values [R]; nan where the metric is not defined."""

NAN = float("nan")


@dataclass(frozen=True, slots=True, eq=False)
class RowSums:
    """Statistics that add up over rows, `table` [n, S], and what turns their sums into the metric."""

    table: FloatArray
    combine: Combine

    @property
    def rows(self) -> int:
        """Number of rows, n."""
        return int(self.table.shape[0])

    @property
    def value(self) -> float:
        """The metric on all rows; nan where it is not defined, and without rows."""
        return float(self.combine(self.table.sum(axis=0, keepdims=True))[0]) if self.rows else NAN

    def weighted(self, weights: FloatArray) -> FloatArray:
        """Return the metric on resamples: weights [R, n], how often each row was drawn -> [R]."""
        return self.combine(weights @ self.table)


@dataclass(frozen=True, slots=True, eq=False)
class LeaveOneOut:
    """The metric on all rows, and without each row in turn, `without` [n]."""

    value: float
    without: FloatArray

    @property
    def rows(self) -> int:
        """Number of rows, n."""
        return int(self.without.size)


Evidence = RowSums | LeaveOneOut


def ratio(numerator: ArrayLike, denominator: ArrayLike) -> FloatArray:
    """Return numerator / denominator element by element, nan where the denominator is not positive."""
    above, below = np.broadcast_arrays(np.asarray(numerator, np.float64), np.asarray(denominator, np.float64))
    values: FloatArray = np.divide(above, below, out=np.full(above.shape, np.nan), where=below > 0.0)
    return values


def row_mean(values: ArrayLike, counted: ArrayLike | None = None, scale: float = 1.0) -> RowSums:
    """Return the evidence of `scale` times the mean of `values` [n] over the rows `counted` [n] (bool; default all)."""
    value = np.asarray(values, dtype=np.float64)
    weight = np.ones(value.size) if counted is None else np.asarray(counted, dtype=np.float64)
    table = np.stack([np.where(weight > 0.0, value, 0.0), weight], axis=1)
    return RowSums(table, lambda sums: scale * ratio(sums[:, 0], sums[:, 1]))


def distinct_share(found: Sequence[Collection[Hashable]], amounts: ArrayLike | None, fixed: float = NAN) -> LeaveOneOut:
    """Return the number of distinct things in all rows over the sum of `amounts` [n], or over `fixed` if that is None.

    `found[i]` holds the things of row i; repeats inside a row do not matter. O(total), leave-one-out values included:
    without row i the things that only row i holds are gone.
    """
    sets = [frozenset(things) for things in found]
    holders = Counter(thing for things in sets for thing in things)
    alone = np.array([sum(holders[thing] == 1 for thing in things) for things in sets], dtype=np.float64)
    if amounts is None:
        below = total = np.full(len(sets), fixed)
        whole = fixed
    else:
        total = np.asarray(amounts, dtype=np.float64)
        whole = float(total.sum())
        below = whole - total
    return LeaveOneOut(float(ratio(len(holders), whole)), ratio(len(holders) - alone, below))


def _jackknife(value: float, without: FloatArray, level: float) -> Interval:
    n = int(without.size)
    if n < 2 or np.isnan(value) or np.isnan(without).any():
        return Interval(value, NAN, NAN, 0)
    error = float(np.sqrt((n - 1) / n * np.square(without - without.mean()).sum()))
    reach = NormalDist().inv_cdf(0.5 + level / 2.0) * error
    return Interval(value, value - reach, value + reach, n)


def intervals(evidence: Mapping[str, Evidence], plan: Bootstrap = DEFAULT) -> dict[str, Interval]:
    """Return the interval of each metric, all bootstraps on the same resamples of the rows, drawn once.

    `Interval.resamples` counts bootstrap resamples, or the rows left out in turn. With fewer than two rows the
    jackknife has no interval (nan).

    Raises:
        DataError: metrics over different numbers of rows.
    """
    counts = sorted({item.rows for item in evidence.values()})
    if len(counts) > 1:
        raise DataError(f"intervals: metrics over {counts} rows; give all of them the same rows")
    sums = {name: item for name, item in evidence.items() if isinstance(item, RowSums)}
    chunks: dict[str, list[FloatArray]] = {name: [] for name in sums}
    if sums and counts[0] > 0:
        for weights in resample_weights(counts[0], plan):
            for name, item in sums.items():
                chunks[name].append(item.weighted(weights))
    found: dict[str, Interval] = {}
    for name, either in evidence.items():
        if isinstance(either, LeaveOneOut):
            found[name] = _jackknife(either.value, either.without, plan.level)
        else:
            samples = np.concatenate(chunks[name]) if chunks[name] else np.empty(0)
            found[name] = percentile_interval(either.value, samples, plan.level)
    return found


def interval(evidence: Evidence, plan: Bootstrap = DEFAULT) -> Interval:
    """Return one metric's interval; see `intervals`."""
    return intervals({"": evidence}, plan)[""]


def difference(model: Evidence, other: Evidence, plan: Bootstrap = DEFAULT) -> Interval:
    """Return the interval of model minus other, paired: both on the same resamples, or without the same rows.

    Raises:
        DataError: another number of rows, or two different kinds of metric.
    """
    if model.rows != other.rows:
        raise DataError(f"paired difference: {model.rows} rows against {other.rows}; score the same rows in one order")
    value = model.value - other.value
    if isinstance(model, LeaveOneOut) and isinstance(other, LeaveOneOut):
        return _jackknife(value, model.without - other.without, plan.level)
    if isinstance(model, RowSums) and isinstance(other, RowSums):
        chunks = [np.empty(0)]
        if model.rows:
            chunks += [model.weighted(w) - other.weighted(w) for w in resample_weights(model.rows, plan)]
        return percentile_interval(value, np.concatenate(chunks), plan.level)
    raise DataError("paired difference: two different metrics; compare two systems on one metric")
