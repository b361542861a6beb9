"""Places of targets among all items."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Float32Array = NDArray[np.float32]
FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
CHUNK = 256
"""Users ranked at a time: 256 rows of scores over a catalogue of a million items are 1 GB."""


@dataclass(frozen=True, slots=True, eq=False)
class Ranked:
    """Ranks [N] of the targets (from 1; halves where scores are equal) and the ten best items [N, 10] as codes."""

    ranks: FloatArray
    top: NDArray[np.int64]


def rank(users: Float32Array, items: Float32Array, targets: IntArray, skip: Sequence[Sequence[int]]) -> Ranked:
    """Rank all items [I, width] for users [N, width] by inner product; see `ranked_scores`."""
    parts = [
        ranked_scores(users[at : at + CHUNK] @ items.T, targets[at : at + CHUNK], skip[at : at + CHUNK])
        for at in range(0, len(users), CHUNK)
    ]
    return Ranked(np.concatenate([part.ranks for part in parts]), np.concatenate([part.top for part in parts]))


def ranked_scores(scores: NDArray[np.floating], targets: IntArray, skip: Sequence[Sequence[int]]) -> Ranked:
    """Ranks [n] of the targets in scores [n, I], and the ten best items of each row.

    Items of equal score share the mean of their places, so that a constant score gains nothing. `skip`: items of each
    row that are not ranked, but for its target. A target that is not scored (-inf) comes last.
    """
    values = np.array(scores, dtype=np.float64)
    row = np.arange(len(values))
    own = values[row, targets]
    for n, codes in enumerate(skip):
        values[n, np.asarray([code for code in codes if code != targets[n]], dtype=np.int64)] = -np.inf
    above, equal = (values > own[:, None]).sum(1), (values == own[:, None]).sum(1)
    ranks = above + (equal + 1) / 2.0
    ranks = np.where(np.isneginf(own), float(values.shape[1]), ranks)
    depth = min(10, values.shape[1])
    best = np.argpartition(-values, depth - 1, axis=1)[:, :depth]
    order = np.argsort(-np.take_along_axis(values, best, 1), axis=1, kind="stable")
    return Ranked(ranks, np.take_along_axis(best, order, 1))


def ndcg(ranks: NDArray[np.float64], depth: int) -> NDArray[np.float64]:
    """NDCG of rows with one relevant item [n]: 1 / log2(rank + 1) within `depth`, else 0."""
    return np.where(ranks <= depth, 1.0 / np.log2(ranks + 1.0), 0.0)
