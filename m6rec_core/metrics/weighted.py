"""The metrics with row weights, for many weightings at once: what makes the bootstrap fast.

A resample with replacement is a vector of counts, one per row. Each `prepare_*` function does the sorting once and
returns a function from weights [R, n] (R resamples) to values [R]; with all weights 1 it equals the plain metric.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from m6rec_core.metrics.ranking import FloatArray, IntArray, MetricInput, row_log_losses

Weighted = Callable[[FloatArray], FloatArray]
"""Weights [R, n] -> values [R]; nan where a weighting leaves a single class."""


def _undefined(weights: FloatArray) -> FloatArray:
    return np.full(weights.shape[0], np.nan)


def _ratio(numerator: FloatArray, denominator: FloatArray) -> FloatArray:
    safe = np.where(denominator > 0.0, denominator, 1.0)
    values: FloatArray = np.where(denominator > 0.0, numerator / safe, np.nan)
    return values


def _starts(*keys: FloatArray | IntArray) -> IntArray:
    """Return where a run of equal keys begins, for keys that are already sorted. [n] each -> [G]."""
    new = np.ones(keys[0].size, dtype=bool)
    new[1:] = False
    for key in keys:
        new[1:] |= key[1:] != key[:-1]
    return np.flatnonzero(new).astype(np.int64)


def _tie_groups(weights: FloatArray, label: FloatArray, starts: IntArray) -> tuple[FloatArray, FloatArray]:
    """Return the positive and negative weight of each group of equal scores, [R, G] each; weights already sorted."""
    positive = weights * label
    negative = weights - positive
    if starts.size < label.size:
        positive = np.add.reduceat(positive, starts, axis=1)
        negative = np.add.reduceat(negative, starts, axis=1)
    return positive, negative


def prepare_auc(data: MetricInput) -> Weighted:
    """Return the weighted form of `auc`: every pair counts the product of its two weights."""
    if data.label.size == 0:
        return _undefined
    order = np.argsort(data.score, kind="stable")
    label = data.label[order]
    starts = _starts(data.score[order])

    def evaluate(weights: FloatArray) -> FloatArray:
        positive, negative = _tie_groups(weights[:, order], label, starts)
        below = np.cumsum(negative, axis=1)
        pairs = np.einsum("rg,rg->r", positive, below - 0.5 * negative)
        return _ratio(pairs, positive.sum(axis=1) * below[:, -1])

    return evaluate


def prepare_gauc(data: MetricInput) -> Weighted:
    """Return the weighted form of `gauc`: per-user weighted AUC, users weighted by their weight of rows."""
    if data.user is None or data.label.size == 0:
        return _undefined
    order = np.lexsort((data.score, data.user))
    label, user = data.label[order], data.user[order]
    starts = _starts(user, data.score[order])
    user_starts = _starts(user[starts])
    group_user = np.repeat(np.arange(user_starts.size), np.diff(np.append(user_starts, starts.size)))

    def evaluate(weights: FloatArray) -> FloatArray:
        positive, negative = _tie_groups(weights[:, order], label, starts)
        before = np.cumsum(negative, axis=1) - negative
        below = before - before[:, user_starts][:, group_user] + 0.5 * negative
        pairs = np.add.reduceat(positive * below, user_starts, axis=1)
        positives = np.add.reduceat(positive, user_starts, axis=1)
        negatives = np.add.reduceat(negative, user_starts, axis=1)
        possible = positives * negatives
        counted = possible > 0.0
        impressions = np.where(counted, positives + negatives, 0.0)
        per_user = np.where(counted, pairs / np.where(counted, possible, 1.0), 0.0)
        return _ratio(np.einsum("ru,ru->r", per_user, impressions), impressions.sum(axis=1))

    return evaluate


def prepare_log_loss(data: MetricInput) -> Weighted:
    """Return the weighted form of `log_loss`: the weighted mean of the rows' losses."""
    if data.probability is None or data.label.size == 0:
        return _undefined
    losses = row_log_losses(data.label, data.probability)

    def evaluate(weights: FloatArray) -> FloatArray:
        return _ratio(weights @ losses, weights.sum(axis=1))

    return evaluate
