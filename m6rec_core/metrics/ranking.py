"""How well scores rank rows and how well probabilities match outcomes: pure numpy functions.

Shapes: n rows; every array is [n]. A metric that is not defined on its rows (one class only, no probabilities, no
users) is nan, and reports print it as "n/a"; a score that is not a number is an error, because it means a broken model.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from m6rec_core.errors import DataError

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

PROBABILITY_FLOOR = 1e-7
"""Probabilities are moved into [floor, 1 - floor] before the logarithm: a certain and wrong row costs 16.1 nats."""


def checked_labels(label: ArrayLike) -> FloatArray:
    """Return labels as float64 [n] of zeros and ones.

    Raises:
        DataError: not one-dimensional, or a value that is neither 0 nor 1; names the first such row.
    """
    values = np.asarray(label, dtype=np.float64)
    if values.ndim != 1:
        raise DataError(f"labels: expected one value per row, got an array of shape {values.shape}")
    wrong = np.flatnonzero((values != 0.0) & (values != 1.0))
    if wrong.size:
        row = int(wrong[0])
        raise DataError(f"labels, row {row}: {values[row]} is neither 0 nor 1; apply the label rule first")
    return values


def checked_values(name: str, values: ArrayLike, rows: int) -> FloatArray:
    """Return `values` as float64 [rows].

    Raises:
        DataError: another number of rows than the labels, or a nan; names the first such row.
    """
    array = np.asarray(values, dtype=np.float64)
    if array.shape != (rows,):
        raise DataError(f"{name}: expected {rows} values, one per label, got an array of shape {array.shape}")
    wrong = np.flatnonzero(np.isnan(array))
    if wrong.size:
        raise DataError(f"{name}, row {int(wrong[0])}: not a number ({wrong.size} such rows); the model has diverged")
    return array


def average_ranks(score: FloatArray) -> FloatArray:
    """Return ranks from 1 to n, [n]; equal scores share the mean of their ranks. O(n log n)."""
    _, group, count = np.unique(score, return_inverse=True, return_counts=True)
    last = np.cumsum(count)
    mean_rank: FloatArray = last - (count - 1) / 2.0
    return mean_rank[group]


def auc(label: ArrayLike, score: ArrayLike) -> float:
    """Area under the ROC curve: the share of (positive, negative) pairs in the right order, ties counting 1/2.

    Computed from ranks in O(n log n), the Mann-Whitney statistic (Hanley and McNeil 1982). nan for a single class.
    """
    y = checked_labels(label)
    s = checked_values("score", score, y.size)
    positives = float(y.sum())
    negatives = y.size - positives
    if positives == 0 or negatives == 0:
        return float("nan")
    rank_sum = float(average_ranks(s)[y == 1.0].sum())
    return (rank_sum - positives * (positives + 1.0) / 2.0) / (positives * negatives)


def gauc(label: ArrayLike, score: ArrayLike, user: ArrayLike) -> tuple[float, int]:
    """Return the impression-weighted mean of per-user AUC, and the number of users counted.

    GAUC = sum_u n_u AUC_u / sum_u n_u over the users with both classes, n_u their rows (Zhu et al. 2017; the "AUC" of
    DIN, Zhou et al. 2018, section 6.3). (nan, 0) when no user has both classes. `user` may hold any sortable ids.
    """
    y = checked_labels(label)
    s = checked_values("score", score, y.size)
    codes = user_codes(user, y.size)
    if y.size == 0:
        return float("nan"), 0
    order = np.lexsort((s, codes))
    codes, y, s = codes[order], y[order], s[order]
    count = np.bincount(codes)
    # Ranks inside a user: rank over (user, score), then subtract the rows of the users before.
    new_value = np.ones(s.size, dtype=bool)
    new_value[1:] = (codes[1:] != codes[:-1]) | (s[1:] != s[:-1])
    before = np.cumsum(count) - count
    rank = average_ranks(np.cumsum(new_value).astype(np.float64)) - before[codes]
    positives = np.bincount(codes, weights=y)
    negatives = count - positives
    rank_sum = np.bincount(codes, weights=rank * y)
    counted = (positives > 0) & (negatives > 0)
    if not counted.any():
        return float("nan"), 0
    p, n = positives[counted], negatives[counted]
    per_user = (rank_sum[counted] - p * (p + 1.0) / 2.0) / (p * n)
    return float(np.average(per_user, weights=count[counted])), int(counted.sum())


def log_loss(label: ArrayLike, probability: ArrayLike) -> float:
    """Mean negative log-likelihood of the labels in nats, natural logarithm, unweighted.

    Probabilities of the positive class are clipped to [1e-7, 1 - 1e-7] (`PROBABILITY_FLOOR`). nan for no rows.

    Raises:
        DataError: a probability outside [0, 1]; names the first such row.
    """
    losses = row_log_losses(label, probability)
    return float(losses.mean()) if losses.size else float("nan")


def row_log_losses(label: ArrayLike, probability: ArrayLike) -> FloatArray:
    """Return the loss of each row in nats, [n]; see `log_loss`."""
    y = checked_labels(label)
    p = checked_values("probability", probability, y.size)
    wrong = np.flatnonzero((p < 0.0) | (p > 1.0))
    if wrong.size:
        row = int(wrong[0])
        raise DataError(f"probability, row {row}: {p[row]} is outside [0, 1]; pass scores as scores")
    p = np.clip(p, PROBABILITY_FLOOR, 1.0 - PROBABILITY_FLOOR)
    losses: FloatArray = -np.log(np.where(y == 1.0, p, 1.0 - p))
    return losses


def user_codes(user: ArrayLike, rows: int) -> IntArray:
    """Return dense integer codes [rows] of any sortable user ids.

    Raises:
        DataError: another number of rows than the labels.
    """
    ids: NDArray[Any] = np.asarray(user)
    if ids.shape != (rows,):
        raise DataError(f"user: expected {rows} ids, one per label, got an array of shape {ids.shape}")
    return np.asarray(np.unique(ids, return_inverse=True)[1], dtype=np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class MetricInput:
    """What a metric may look at, checked at construction. `label` and `score` [n]; the others [n] or None if unknown.

    `score` ranks and may be on any scale; `probability` is of the positive class; `user` holds any sortable ids
    and becomes dense codes.

    Raises:
        DataError: arrays of different lengths, a label other than 0 or 1, a score that is not a number.
    """

    label: NDArray[Any]
    score: NDArray[Any]
    probability: NDArray[Any] | None = None
    user: NDArray[Any] | None = None

    def __post_init__(self) -> None:
        """Check lengths and values, and bring all arrays to one type."""
        label = checked_labels(self.label)
        object.__setattr__(self, "label", label)
        object.__setattr__(self, "score", checked_values("score", self.score, label.size))
        if self.probability is not None:
            object.__setattr__(self, "probability", checked_values("probability", self.probability, label.size))
        if self.user is not None:
            object.__setattr__(self, "user", user_codes(self.user, label.size))
