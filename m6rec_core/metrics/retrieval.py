"""Retrieval metrics from the rank of the target among all items (no sampled negatives), by row.

Ties are pessimistic: an item with the same score as the target counts as before it, so a model that scores all items
alike has the last rank and not the first. Shapes: N rows, I items. Every metric returns its evidence: `.value` is the
number, `m6rec_core.metrics.evidence.interval` and `difference` give intervals and paired differences.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import ArrayLike, NDArray

from m6rec_core.errors import DataError
from m6rec_core.metrics.evidence import Evidence, LeaveOneOut, RowSums, distinct_share, row_mean
from m6rec_core.metrics.ranking import FloatArray, IntArray

_CELLS = 4_000_000
"""Scores compared at a time: 4 MB of booleans, whatever the number of rows."""

BoolArray = NDArray[np.bool_]


def _checked(scores: ArrayLike, exclude: ArrayLike | None) -> tuple[NDArray[np.floating], BoolArray | None]:
    table = np.asarray(scores)
    if not np.issubdtype(table.dtype, np.floating):
        table = table.astype(np.float64)
    if table.ndim != 2:
        raise DataError(f"scores: expected [rows, items], got an array of shape {table.shape}")
    mask = None if exclude is None else np.asarray(exclude, dtype=bool)
    if mask is not None and mask.shape != table.shape:
        raise DataError(f"exclude: shape {mask.shape} is not the scores' {table.shape}; give one flag per score")
    return table, mask


def _checked_k(k: int, items: int) -> None:
    if not 1 <= k <= items:
        raise DataError(f"K = {k} with a catalogue of {items} items; choose K from 1 to {items}")


def target_ranks(scores: ArrayLike, target: ArrayLike, exclude: ArrayLike | None = None) -> IntArray:
    """Return the rank of each row's target, from 1, [N]: 1 + the other items whose score is not below the target's.

    scores [N, I]: higher is better. target [N]: an index into the items. exclude [N, I]: true where an item does not
    compete (the history of the user). O(N * I), a few megabytes beside the scores.

    Raises:
        DataError: shapes that do not fit, a target that is no item or is excluded, a score that is not a number.
    """
    table, mask = _checked(scores, exclude)
    rows, items = table.shape
    wanted = np.asarray(target)
    if wanted.shape != (rows,) or not (np.issubdtype(wanted.dtype, np.integer) or rows == 0):
        raise DataError(f"target: expected {rows} item indices, one per row, got {wanted.dtype} {wanted.shape}")
    wanted = wanted.astype(np.int64)
    wrong = np.flatnonzero((wanted < 0) | (wanted >= items))
    if wrong.size:
        raise DataError(f"target, row {int(wrong[0])}: {int(wanted[wrong[0]])} is not an item of 0 to {items - 1}")
    ranks = np.zeros(rows, dtype=np.int64)
    step = max(1, _CELLS // max(items, 1))
    for start in range(0, rows, step):
        part = table[start : start + step]
        own = wanted[start : start + step]
        line = np.arange(own.size)
        competes = np.ones(part.shape, dtype=bool) if mask is None else ~mask[start : start + step]
        if not competes[line, own].all():
            row = start + int(np.flatnonzero(~competes[line, own])[0])
            raise DataError(f"target, row {row}: item {int(wanted[row])} is excluded; take targets out of the mask")
        broken = (np.isnan(part) & competes).any(axis=1)
        if broken.any():
            raise DataError(
                f"scores, row {start + int(np.flatnonzero(broken)[0])}: not a number; the model has diverged"
            )
        ranks[start : start + step] = ((part >= part[line, own][:, None]) & competes).sum(axis=1)
    return ranks


def top_items(scores: ArrayLike, k: int, exclude: ArrayLike | None = None) -> IntArray:
    """Return the `k` best items of each row, best first, [N, K]; equal scores in the order of the items.

    Where fewer than `k` items compete, the rest of the row is -1.

    Raises:
        DataError: shapes that do not fit, or `k` larger than the catalogue.
    """
    table, mask = _checked(scores, exclude)
    _checked_k(k, table.shape[1])
    best = np.empty((table.shape[0], k), dtype=np.int64)
    for row, line in enumerate(table):
        free = np.arange(line.size) if mask is None else np.flatnonzero(~mask[row])
        order = free[np.argsort(-line[free], kind="stable")[:k]]
        best[row, : order.size] = order
        best[row, order.size :] = -1
    return best


def _checked_ranks(ranks: ArrayLike, items: int, k: int | None) -> FloatArray:
    values = np.asarray(ranks, dtype=np.float64)
    if k is not None:
        _checked_k(k, items)
    wrong = np.flatnonzero((values < 1) | (values > items))
    if wrong.size:
        row = int(wrong[0])
        raise DataError(f"ranks, row {row}: {values[row]:g} is not a rank of 1 to {items}; take them from target_ranks")
    return values


def hit_rate(ranks: ArrayLike, items: int, k: int) -> RowSums:
    """Return HR@K: the share of rows whose target is among the first K. With one target per row it is also recall@K.

    Raises:
        DataError: K larger than the catalogue of `items`, or a rank outside it.
    """
    return row_mean(_checked_ranks(ranks, items, k) <= k)


def ndcg(ranks: ArrayLike, items: int, k: int) -> RowSums:
    """Return NDCG@K with one target per row: the mean of 1 / log2(1 + rank), 0 beyond K. Errors as `hit_rate`."""
    values = _checked_ranks(ranks, items, k)
    return row_mean(np.where(values <= k, 1.0 / np.log2(1.0 + values), 0.0))


def mrr(ranks: ArrayLike, items: int, k: int | None = None) -> RowSums:
    """Return the mean of 1 / rank; with `k`, ranks beyond K count 0 (MRR@K). Errors as `hit_rate`."""
    values = _checked_ranks(ranks, items, k)
    return row_mean(np.where(values <= (items if k is None else k), 1.0 / values, 0.0))


def recall(ranks: ArrayLike, row: ArrayLike, rows: int, items: int, k: int) -> RowSums:
    """Return recall@K with any number of targets per row: the mean over rows of the share of its targets in the top K.

    ranks [T] of all targets, row [T] the row that each belongs to; rows without a target are not counted. Rank several
    targets of a row with the same scores; a target may push another one down, as in a list.

    Raises:
        DataError: as `hit_rate`, or a row outside 0 to rows - 1.
    """
    values = _checked_ranks(ranks, items, k)
    owner = np.asarray(row, dtype=np.int64)
    if owner.shape != values.shape or ((owner < 0) | (owner >= rows)).any():
        raise DataError(f"recall: expected one row of 0 to {rows - 1} per rank")
    targets = np.bincount(owner, minlength=rows)
    hits = np.bincount(owner, weights=(values <= k).astype(np.float64), minlength=rows)
    return row_mean(hits / np.maximum(targets, 1), targets > 0)


def catalogue_coverage(top: ArrayLike, items: int) -> LeaveOneOut:
    """Return coverage@K: different items in the lists `top` [N, K] (see `top_items`) / `items`; nan without items.

    Raises:
        DataError: an entry that is no item; -1 stands for none.
    """
    lists = np.asarray(top, dtype=np.int64)
    if lists.ndim != 2 or (lists < -1).any() or (lists >= items).any():
        raise DataError(f"coverage: expected lists [rows, K] of items 0 to {items - 1}, -1 for none")
    return distinct_share([[item for item in line if item >= 0] for line in lists.tolist()], None, float(items))


@dataclass(frozen=True, slots=True)
class RankMetric:
    """A metric of ranks by name: `evidence(ranks [N], items, k)`. All are higher-is-better."""

    name: str
    evidence: Callable[[ArrayLike, int, int], Evidence]

    def signature(self, items: int, k: int, rows: int) -> str:
        """Return e.g. "ndcg@10|full ranking|items:3416|ties:pessimistic|rows:6040"."""
        return f"{self.name}@{k}|full ranking|items:{items}|ties:pessimistic|rows:{rows}"


RANK_METRICS: Mapping[str, RankMetric] = MappingProxyType(
    {
        "hr": RankMetric("hr", hit_rate),
        "recall": RankMetric("recall", hit_rate),
        "ndcg": RankMetric("ndcg", ndcg),
        "mrr": RankMetric("mrr", mrr),
    }
)
"""Name -> metric with one target per row, immutable."""
