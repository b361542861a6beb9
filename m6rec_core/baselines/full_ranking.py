"""Where the target stands among all items: full ranking, never a sample of negatives.

Shapes: N rows, I items. Ties are pessimistic, as in `m6rec_core.metrics.retrieval`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from m6rec_core.baselines.data import IntArray
from m6rec_core.baselines.retrieval import FittedRetriever, RetrievalRows
from m6rec_core.logs.leave_one_out import BoolArray
from m6rec_core.metrics.retrieval import target_ranks, top_items

ROWS_AT_ONCE = 256
"""Rows scored together: scores of 256 rows and 4,000 items are 4 MB."""


@dataclass(frozen=True, slots=True, eq=False)
class FullRanking:
    """`rank` [N]: 1 for a target above every other item; `top` [N, k]: codes of the first k items, best first.

    Where fewer than k items compete, the rest of a line of `top` is -1. k is 0 when no lists were asked for.
    """

    rank: IntArray
    top: IntArray


def excluded(
    rows: RetrievalRows, items: int, exclude_history: bool = True, among: BoolArray | None = None
) -> BoolArray:
    """Return what may not be recommended, [N, I].

    That is each row's history unless `exclude_history` is false, and everything outside `among` [I] where it is
    given. The target always competes, even where it repeats an item of the history.
    """
    mask = np.zeros((len(rows), items), dtype=bool)
    if among is not None:
        mask[:] = ~among
    if exclude_history:
        for row, history in enumerate(rows.histories):
            mask[row, list(history)] = True
    mask[np.arange(len(rows)), rows.targets] = False
    return mask


def full_ranking(
    fitted: FittedRetriever,
    rows: RetrievalRows,
    top: int = 10,
    exclude_history: bool = True,
    among: BoolArray | None = None,
) -> FullRanking:
    """Rank all items for every row; see `excluded` for `exclude_history` and `among`. `top` 0 saves the sorting.

    Raises:
        DataError: `top` larger than the catalogue, or a score that is not a number.
    """
    ranks, tops = [np.zeros(0, dtype=np.int64)], [np.zeros((0, top), dtype=np.int64)]
    for start in range(0, len(rows), ROWS_AT_ONCE):
        part = RetrievalRows(rows.histories[start : start + ROWS_AT_ONCE], rows.targets[start : start + ROWS_AT_ONCE])
        scores = fitted.scores(part.histories)
        mask = excluded(part, scores.shape[1], exclude_history, among)
        ranks.append(target_ranks(scores, part.targets, mask))
        tops.append(top_items(scores, top, mask) if top else np.zeros((len(part), 0), dtype=np.int64))
    return FullRanking(np.concatenate(ranks), np.concatenate(tops))
