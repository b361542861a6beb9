"""Exact search: a blocked matrix product. The yardstick of other backends, and fast enough for small catalogues."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from m6rec_plugin_retrieval.index.errors import VectorIndexError
from m6rec_plugin_retrieval.index.protocol import Hits
from m6rec_plugin_retrieval.index.vectors import Vectors, check_held, check_ids, check_new, unit_vectors

QUERY_BLOCK = 64
ITEM_BLOCK = 32_768
"""A block of scores is 8 MB: it stays in the cache while it is read."""
MARGIN = 1e-5
"""Scores of a matrix product depend on the block they are computed in by less than this; what is within is rescored."""


class ExactIndex:
    """`VectorIndex` in numpy. Results depend neither on the order of items nor on which queries share a call."""

    backend = "exact"

    def __init__(self, width: int) -> None:
        """Make an empty index of vectors of `width` numbers."""
        if width < 1:
            raise VectorIndexError(f"width is {width}: give the width of the encoder's vectors")
        self._width = width
        self._names: list[str] = []
        self._rows: dict[str, int] = {}
        self._matrix: Vectors = np.empty((0, width), dtype=np.float32)

    @classmethod
    def of(cls, ids: Sequence[str], vectors: NDArray[Any]) -> ExactIndex:
        """Index `vectors` [n, width]; a float32 matrix is shared, so the caller must not change it afterwards."""
        found = cls(vectors.shape[1])
        check_ids(ids)
        found._matrix = unit_vectors(vectors, found._width, ids).view()
        found._matrix.flags.writeable = False  # the caller's; the first change makes a copy
        found._names = list(ids)
        found._rows = {item: row for row, item in enumerate(ids)}
        return found

    @property
    def width(self) -> int:
        """Numbers per vector."""
        return self._width

    def __len__(self) -> int:
        """Items held."""
        return len(self._names)

    def __contains__(self, item: object) -> bool:
        """Whether the id is held."""
        return item in self._rows

    def ids(self) -> tuple[str, ...]:
        """Return the ids held, in text order."""
        return tuple(sorted(self._names))

    def add(self, ids: Sequence[str], vectors: NDArray[Any]) -> None:
        """Add new items; `vectors` [n, width] of length 1."""
        check_ids(ids)
        check_new(ids, self._rows)
        checked = unit_vectors(vectors, self._width, ids)
        begin, end = len(self._names), len(self._names) + len(ids)
        if end > len(self._matrix):
            grown = np.empty((max(end, 2 * begin), self._width), dtype=np.float32)
            grown[:begin] = self._matrix[:begin]
            self._matrix = grown
        self._matrix[begin:end] = checked
        self._names.extend(ids)
        self._rows.update({item: begin + row for row, item in enumerate(ids)})

    def update(self, ids: Sequence[str], vectors: NDArray[Any]) -> None:
        """Replace the vectors of items held."""
        check_ids(ids)
        check_held(ids, self._rows)
        checked = unit_vectors(vectors, self._width, ids)
        if len(ids):
            if not self._matrix.flags.writeable:
                self._matrix = self._matrix.copy()
            self._matrix[[self._rows[item] for item in ids]] = checked

    def delete(self, ids: Sequence[str]) -> None:
        """Remove items held."""
        check_ids(ids)
        check_held(ids, self._rows)
        if len(ids) and not self._matrix.flags.writeable:
            self._matrix = self._matrix.copy()
        for item in ids:  # the last row takes the place of the deleted one, so that there is never a gap
            row, last = self._rows.pop(item), self._names.pop()
            if last != item:
                self._matrix[row] = self._matrix[len(self._names)]
                self._names[row] = last
                self._rows[last] = row

    def vectors(self, ids: Sequence[str]) -> Vectors:
        """Return the vectors of items held [n, width], in the order asked for."""
        check_held(ids, self._rows)
        return self._matrix[[self._rows[item] for item in ids]].reshape(len(ids), self._width)

    def search(self, queries: NDArray[Any], k: int, exclude: Sequence[Collection[str]] | None = None) -> list[Hits]:
        """Return the `k` nearest items of each query [N, width], without those of `exclude`."""
        checked = unit_vectors(queries, self._width)
        check_search(len(checked), k, exclude)
        found: list[Hits] = []
        for begin in range(0, len(checked), QUERY_BLOCK):
            block = checked[begin : begin + QUERY_BLOCK]
            found += self._nearest(block, k, None if exclude is None else exclude[begin : begin + QUERY_BLOCK])
        return found

    def compact(self) -> int:
        """Trim the spare room; deleted vectors take none here, so the answer is 0."""
        self._matrix = self._matrix[: len(self._names)].copy()
        return 0

    def _nearest(self, queries: Vectors, k: int, exclude: Sequence[Collection[str]] | None) -> list[Hits]:
        """Search for a block of queries: candidates from the product, order from scores computed pair by pair."""
        k = max(1, min(k, len(self)))
        limit = np.full(len(queries), -np.inf, dtype=np.float32)
        best = np.full((len(queries), k), -np.inf, dtype=np.float32)
        kept: list[tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]]] = []
        hidden = self._hidden(exclude)
        for begin in range(0, len(self), ITEM_BLOCK):
            scores = queries @ self._matrix[begin : min(begin + ITEM_BLOCK, len(self))].T
            inside = (hidden[1] >= begin) & (hidden[1] < begin + scores.shape[1])
            scores[hidden[0][inside], hidden[1][inside] - begin] = -np.inf
            top = scores if scores.shape[1] <= k else np.partition(scores, scores.shape[1] - k, axis=1)[:, -k:]
            merged = np.concatenate([best, top], axis=1)
            best = np.partition(merged, merged.shape[1] - k, axis=1)[:, -k:]
            limit = best.min(axis=1)
            rows, columns = np.nonzero((scores >= (limit - MARGIN)[:, None]) & (scores > -np.inf))
            kept.append((rows, columns + begin, scores[rows, columns]))
        if not kept:
            return [Hits((), ()) for _ in queries]
        rows, columns, rough = (np.concatenate(part) for part in zip(*kept, strict=True))
        close = rough >= limit[rows] - MARGIN
        return self._ordered(queries, k, rows[close], columns[close])

    def _ordered(self, queries: Vectors, k: int, rows: NDArray[np.intp], columns: NDArray[np.intp]) -> list[Hits]:
        """Score pairs of query and item alone, in float64, and order them by score, then id."""
        order = np.argsort(rows, kind="stable")
        bounds = np.searchsorted(rows[order], np.arange(len(queries) + 1))
        found = []
        for query in range(len(queries)):
            mine = columns[order[bounds[query] : bounds[query + 1]]]
            products = self._matrix[mine].astype(np.float64) * queries[query].astype(np.float64)
            scores = products.sum(axis=1)
            ranked = sorted(zip((-scores).tolist(), (self._names[row] for row in mine), strict=True))[:k]
            found.append(Hits(tuple(name for _, name in ranked), tuple(-score for score, _ in ranked)))
        return found

    def _hidden(self, exclude: Sequence[Collection[str]] | None) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Return pairs of query and matrix row that must not be found."""
        pairs = [
            (query, self._rows[item])
            for query, items in enumerate(exclude or ())
            for item in items
            if item in self._rows
        ]
        found = np.array(pairs, dtype=np.intp).reshape(-1, 2)
        return found[:, 0], found[:, 1]


def check_search(queries: int, k: int, exclude: Sequence[Collection[str]] | None) -> None:
    """Raise VectorIndexError for a `k` below 1 or another number of exclusions than of queries."""
    if k < 1:
        raise VectorIndexError(f"k is {k}: ask for at least one item")
    if exclude is not None and len(exclude) != queries:
        raise VectorIndexError(f"{len(exclude)} exclusions came with {queries} queries: give one collection per query")
