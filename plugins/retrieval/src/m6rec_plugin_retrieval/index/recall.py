"""How much of the exact answer a graph finds, measured, and the breadth and links that reach a target."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from m6rec_plugin_retrieval.index.errors import VectorIndexError
from m6rec_plugin_retrieval.index.exact import ExactIndex
from m6rec_plugin_retrieval.index.hnsw import HnswIndex, HnswSettings
from m6rec_plugin_retrieval.index.protocol import Hits, VectorIndex
from m6rec_plugin_retrieval.index.vectors import Vectors, unit_vectors

HELD_OUT = 500
"""Queries of a measurement: its standard error at recall .99 and K = 100 is below .001 in practice."""
WIDEST = 4096
"""The largest `ef` that tuning tries; beyond it exact search is about as fast."""
LINKS = (16, 32, 48)
"""Values of M in the order they are tried."""
EXACT_BELOW = 20_000
"""Catalogues with fewer items are searched exactly: it takes a millisecond, and nothing is missed."""


@dataclass(frozen=True, slots=True)
class Recall:
    """recall@`k` = `reached`, over `queries` queries that took no part in building, against exact search.

    `source`: `items` where each query was an item's own vector with that item left out, `users` where vectors of users
    were given.
    """

    k: int
    target: float
    reached: float
    queries: int
    source: str

    @property
    def enough(self) -> bool:
        """Whether the target was reached."""
        return self.reached >= self.target


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Queries [N, width], the item hidden from each (or none), and the exact answers to depth `k`."""

    queries: Vectors
    hidden: tuple[frozenset[str], ...]
    truth: tuple[Hits, ...]
    k: int
    source: str

    @classmethod
    def of(cls, exact: ExactIndex, k: int, queries: NDArray[Any] | None = None, seed: int = 0) -> HeldOut:
        """Answer `queries` exactly; without them, take items at random and ask for their neighbours."""
        if not len(exact):
            raise VectorIndexError("the index is empty, so its recall cannot be measured: add items first")
        if queries is not None:
            checked, hidden, source = unit_vectors(queries, exact.width), [frozenset[str]()] * len(queries), "users"
        else:
            names = exact.ids()
            chosen = np.random.default_rng(seed).permutation(len(names))[:HELD_OUT]
            taken = [names[row] for row in chosen]
            checked, hidden, source = exact.vectors(taken), [frozenset({item}) for item in taken], "items"
        return cls(checked, tuple(hidden), tuple(exact.search(checked, k, hidden)), k, source)

    def recall(self, index: VectorIndex) -> float:
        """Return the share of the exact answers that `index` finds; 1 where there is nothing to find."""
        found = index.search(self.queries, self.k, self.hidden)
        hits = sum(len(set(a.ids) & set(b.ids)) for a, b in zip(found, self.truth, strict=True))
        wanted = sum(len(answer.ids) for answer in self.truth)
        return hits / wanted if wanted else 1.0


def tune_ef(index: HnswIndex, held_out: HeldOut, target: float = 0.99) -> Recall:
    """Set the smallest `ef`, to about a tenth, that reaches `target` on the queries; return what was measured.

    Where none up to `WIDEST` does, the widest tried stays set and the answer tells the recall that was reached.
    """
    if not 0 < target <= 1:
        raise VectorIndexError(f"the recall target is {target}: give a number above 0 and at most 1")

    def reached(ef: int) -> float:
        index.set_ef(ef)
        return held_out.recall(index)

    low, high = 0, max(held_out.k, 16)
    found = reached(high)
    while found < target and high < WIDEST:
        low, high = high, min(2 * high, WIDEST)
        found = reached(high)
    while low and found >= target and high - low > max(high // 10, 1):
        middle = (low + high) // 2
        now = reached(middle)
        low, high, found = (low, middle, now) if now >= target else (middle, high, found)
    index.set_ef(high)
    return Recall(held_out.k, target, found, len(held_out.queries), held_out.source)


def build_index(
    ids: Sequence[str],
    vectors: NDArray[Any],
    target: float = 0.99,
    k: int = 100,
    backend: str = "auto",
    queries: NDArray[Any] | None = None,
    settings: HnswSettings | None = None,
) -> tuple[VectorIndex, Recall | None]:
    """Build an index of `vectors` [n, width] that reaches `target` on held-out queries; return it with the measurement.

    `backend`: `exact`, `hnsw`, or `auto`: exact below `EXACT_BELOW` items. Links are tried from `LINKS` until the
    target is reached, or only those of `settings` where given. Exact search has no measurement: None.
    """
    exact = ExactIndex.of(ids, vectors)
    if not len(exact):
        raise VectorIndexError("the catalogue is empty: give at least one item")
    if backend not in {"auto", "exact", "hnsw"}:
        raise VectorIndexError(f"backend is {backend!r}: choose auto, exact or hnsw")
    if backend == "exact" or (backend == "auto" and len(exact) < EXACT_BELOW):
        return exact, None
    held_out = HeldOut.of(exact, k, queries)
    start = settings or HnswSettings()
    tries: list[tuple[HnswIndex, Recall]] = []
    for m in (start.m,) if settings else LINKS:
        index = HnswIndex(exact.width, replace(start, m=m, ef_construction=max(start.ef_construction, 2 * m)))
        index.add(ids, vectors)
        tries = [*tries[-1:], (index, tune_ef(index, held_out, target))]
        if tries[-1][1].enough:
            break
    return max(tries, key=lambda made: made[1].reached)
