"""Where the target stands among all items: full ranking, never a sample of negatives.

Shapes: N rows, I items.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from m6rec_core.baselines.data import IntArray
from m6rec_core.baselines.retrieval import NOT_SCORED, FittedRetriever, Float32Array, RetrievalRows
from m6rec_core.logs.leave_one_out import BoolArray

ROWS_AT_ONCE = 256
"""Rows scored together: scores of 256 rows and 4,000 items are 4 MB."""


@dataclass(frozen=True, slots=True, eq=False)
class FullRanking:
    """`rank` [N]: 1 for a target above every other item; `top` [N, k]: codes of the first k items, best first
    (k 0 saves the sorting)."""

    rank: IntArray
    top: IntArray


def rank_scores(
    scores: Float32Array, rows: RetrievalRows, exclude_history: bool = True, among: BoolArray | None = None
) -> Float32Array:
    """Return a copy of scores [N, I] in which what may not be recommended is `NOT_SCORED`.

    That is each row's history, unless `exclude_history` is false (the target itself always stays), and everything
    outside `among` [I] where it is given.
    """
    masked = scores.copy()
    if among is not None:
        masked[:, ~among] = NOT_SCORED
    if exclude_history:
        for row, history in enumerate(rows.histories):
            target = masked[row, rows.targets[row]]
            masked[row, list(history)] = NOT_SCORED
            masked[row, rows.targets[row]] = target
    return masked


def target_ranks(scores: Float32Array, targets: IntArray) -> IntArray:
    """Return the ranks [N] of the targets in scores [N, I]; whatever ties with the target stands before it.

    So a model that gives all items one score has found nothing, and a target that is `NOT_SCORED` is the last.
    """
    own = scores[np.arange(len(targets)), targets][:, None]
    return np.asarray((scores >= own).sum(axis=1), dtype=np.int64)


def full_ranking(
    fitted: FittedRetriever,
    rows: RetrievalRows,
    top: int = 10,
    exclude_history: bool = True,
    among: BoolArray | None = None,
) -> FullRanking:
    """Rank all items for every row; see `rank_scores` for `exclude_history` and `among`, `target_ranks` for ties."""
    ranks, tops = [np.zeros(0, dtype=np.int64)], []
    for start in range(0, len(rows), ROWS_AT_ONCE):
        part = RetrievalRows(rows.histories[start : start + ROWS_AT_ONCE], rows.targets[start : start + ROWS_AT_ONCE])
        scores = rank_scores(fitted.scores(part.histories), part, exclude_history, among)
        ranks.append(target_ranks(scores, part.targets))
        tops.append(_best(scores, top))
    return FullRanking(np.concatenate(ranks), np.concatenate(tops) if tops else np.zeros((0, top), dtype=np.int64))


def _best(scores: Float32Array, top: int) -> IntArray:
    """Return the codes [N, min(top, I)] of the highest scores, best first, equal ones by code."""
    if top == 0:
        return np.zeros((len(scores), 0), dtype=np.int64)
    return np.argsort(-scores, axis=1, kind="stable")[:, :top].astype(np.int64)
