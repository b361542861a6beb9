"""Places of targets among all items, and the ten best items of each row."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from m6rec_core.metrics.retrieval import target_ranks, top_items

Float32Array = NDArray[np.float32]
IntArray = NDArray[np.int64]
CHUNK = 256
"""Users ranked at a time: 256 rows of scores over a catalogue of a million items are 1 GB."""
TOP = 10


@dataclass(frozen=True, slots=True, eq=False)
class Ranked:
    """Ranks [N] of the targets, from 1, and the best `TOP` items [N, K] as codes, fewer in a smaller catalogue."""

    ranks: IntArray
    top: IntArray

    def where(self, rows: NDArray[np.bool_]) -> Ranked:
        """The rows for which `rows` [N] is true."""
        return Ranked(self.ranks[rows], self.top[rows])


def rank_all(
    scores: Callable[[int, int], Float32Array], targets: IntArray, skip: Sequence[Sequence[int]] | None
) -> Ranked:
    """Rank all items for N rows: `scores(start, stop)` gives those of some rows [n, I]. `skip`: items of each row that
    do not compete, but for its target.
    """
    ranks, top = [np.zeros(0, dtype=np.int64)], []
    for start in range(0, len(targets), CHUNK):
        stop = min(start + CHUNK, len(targets))
        found = scores(start, stop)
        mask = None if skip is None else _mask(skip[start:stop], targets[start:stop], found.shape[1])
        ranks.append(target_ranks(found, targets[start:stop], mask))
        top.append(top_items(found, min(TOP, found.shape[1]), mask))
    return Ranked(np.concatenate(ranks), np.concatenate(top) if top else np.zeros((0, TOP), dtype=np.int64))


def rank_vectors(
    users: Float32Array, items: Float32Array, targets: IntArray, skip: Sequence[Sequence[int]] | None = None
) -> Ranked:
    """Rank all items [I, width] for users [N, width] by inner product; see `rank_all`."""
    return rank_all(lambda start, stop: users[start:stop] @ items.T, targets, skip)


def _mask(skip: Sequence[Sequence[int]], targets: IntArray, items: int) -> NDArray[np.bool_]:
    mask = np.zeros((len(targets), items), dtype=bool)
    for row, codes in enumerate(skip):
        mask[row, np.asarray(codes, dtype=np.int64)] = True
    mask[np.arange(len(targets)), targets] = False
    return mask
