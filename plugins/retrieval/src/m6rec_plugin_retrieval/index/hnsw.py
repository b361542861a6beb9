"""Approximate search in a hierarchical small-world graph (hnswlib)."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hnswlib
import numpy as np
from numpy.typing import NDArray

from m6rec_plugin_retrieval.index.errors import VectorIndexError
from m6rec_plugin_retrieval.index.exact import ExactIndex, check_search
from m6rec_plugin_retrieval.index.protocol import Hits
from m6rec_plugin_retrieval.index.vectors import Vectors, check_held, check_ids, check_new, unit_vectors

SMALLEST = 1024
"""Room of a new graph, in vectors; it doubles when it is full."""
FETCH = 4096
"""Vectors read back from the graph at a time: the library makes a Python number of each number."""
DELETED_SHARE = 0.3
"""Compaction starts by itself when more than this share of a graph's vectors is deleted."""


@dataclass(frozen=True, slots=True)
class HnswSettings:
    """`m`: links per vector. `ef_construction`, `ef`: breadth of the search while building, and while answering.

    With `threads` above 1 the graph depends on their timing; results are as good, but not the same twice.
    """

    m: int = 16
    ef_construction: int = 100
    ef: int = 100
    seed: int = 0
    threads: int = 1

    def __post_init__(self) -> None:
        """Refuse numbers that hnswlib would take and crash on."""
        for name in ("m", "ef_construction", "ef", "threads"):
            if getattr(self, name) < (2 if name == "m" else 1):
                raise VectorIndexError(f"{name} is {getattr(self, name)}: too small for a graph")


class HnswIndex:
    """`VectorIndex` on hnswlib.

    The library knows numbers, not ids, and can only mark a vector as deleted. So every vector that is written gets a
    new number (a label), which is never given again before a compaction, and a table says whose it is; a label that is
    no longer in the table is never reported, whatever the library says.
    """

    backend = "hnsw"

    def __init__(self, width: int, settings: HnswSettings | None = None) -> None:
        """Make an empty index of vectors of `width` numbers."""
        if width < 1:
            raise VectorIndexError(f"width is {width}: give the width of the encoder's vectors")
        self._width = width
        self._settings = settings or HnswSettings()
        self._labels: dict[str, int] = {}
        self._names: dict[int, str] = {}
        self._next = 0
        self._ef = self._settings.ef
        self._graph = self._empty(SMALLEST)

    @classmethod
    def restored(cls, width: int, settings: HnswSettings, graph: Path, labels: dict[str, int], after: int) -> HnswIndex:
        """Read an index back: `graph` as `write_graph` left it, the label of each id, and the next free label.

        `graph` must be a file whose checksum was verified: hnswlib trusts what it reads.
        """
        found = cls(width, settings)
        found._graph = hnswlib.Index("ip", width)
        found._graph.load_index(str(graph))
        found._graph.set_num_threads(settings.threads)
        found._labels = dict(labels)
        found._names = {label: item for item, label in labels.items()}
        found._next = after
        if len(found._names) != len(labels) or found._graph.element_count != after:
            raise VectorIndexError(
                f"{graph} holds {found._graph.element_count} vectors, its table {after}: build again"
            )
        return found

    @property
    def width(self) -> int:
        """Numbers per vector."""
        return self._width

    @property
    def settings(self) -> HnswSettings:
        """The settings, with the `ef` in use."""
        now = self._settings
        return HnswSettings(now.m, now.ef_construction, self._ef, now.seed, now.threads)

    @property
    def deleted(self) -> int:
        """Vectors of the graph that belong to no item any more."""
        return self._next - len(self._labels)

    @property
    def labels(self) -> dict[str, int]:
        """The label of each id, a copy."""
        return dict(self._labels)

    def __len__(self) -> int:
        """Items held."""
        return len(self._labels)

    def __contains__(self, item: object) -> bool:
        """Whether the id is held."""
        return item in self._labels

    def ids(self) -> tuple[str, ...]:
        """Return the ids held, in text order."""
        return tuple(sorted(self._labels))

    def set_ef(self, ef: int) -> None:
        """Search with breadth `ef` from now on: larger finds more and takes longer."""
        if ef < 1:
            raise VectorIndexError(f"ef is {ef}: give at least 1")
        self._ef = ef

    def add(self, ids: Sequence[str], vectors: NDArray[Any]) -> None:
        """Add new items; `vectors` [n, width] of length 1."""
        check_ids(ids)
        check_new(ids, self._labels)
        self._write(ids, unit_vectors(vectors, self._width, ids))

    def update(self, ids: Sequence[str], vectors: NDArray[Any]) -> None:
        """Replace the vectors of items held."""
        check_ids(ids)
        check_held(ids, self._labels)
        checked = unit_vectors(vectors, self._width, ids)
        self._forget(ids)
        self._write(ids, checked)
        self._tidy()

    def delete(self, ids: Sequence[str]) -> None:
        """Remove items held."""
        check_ids(ids)
        check_held(ids, self._labels)
        self._forget(ids)
        self._tidy()

    def vectors(self, ids: Sequence[str]) -> Vectors:
        """Return the vectors of items held [n, width], in the order asked for."""
        check_held(ids, self._labels)
        found = np.empty((len(ids), self._width), dtype=np.float32)
        for begin in range(0, len(ids), FETCH):
            wanted = [self._labels[item] for item in ids[begin : begin + FETCH]]
            found[begin : begin + len(wanted)] = self._graph.get_items(wanted)
        return found

    def search(self, queries: NDArray[Any], k: int, exclude: Sequence[Collection[str]] | None = None) -> list[Hits]:
        """Return the `k` nearest items found for each query [N, width], without those of `exclude`.

        As many come back as with exact search, `min(k, what is left)`; which ones is approximate.
        """
        checked = unit_vectors(queries, self._width)
        check_search(len(checked), k, exclude)
        if not len(checked):
            return []
        if not self._labels:
            return [Hits((), ()) for _ in checked]
        asked = min(len(self), k + max((len(items) for items in exclude or ()), default=0))
        if 2 * asked > len(self):  # the graph would be walked as a whole, and may not reach every vector
            return self._exact().search(checked, k, exclude)
        self._graph.set_ef(max(self._ef, asked))
        try:
            labels, distances = self._graph.knn_query(checked, k=asked, num_threads=self._settings.threads)
        except RuntimeError:  # fewer found than asked for: the graph has come apart
            return self._exact().search(checked, k, exclude)
        return self._hits(labels, distances, k, exclude)

    def compact(self) -> int:
        """Build the graph again without the deleted vectors; return how many there were."""
        gone = self.deleted
        if gone:
            kept = sorted(self._labels, key=self._labels.__getitem__)
            old, labels = self._graph, [self._labels[item] for item in kept]
            self._graph, self._next = self._empty(max(SMALLEST, len(kept))), 0
            self._labels, self._names = {}, {}
            for begin in range(0, len(kept), FETCH):
                block = np.asarray(old.get_items(labels[begin : begin + FETCH]), dtype=np.float32)
                self._write(kept[begin : begin + FETCH], block)
        return gone

    def write_graph(self, path: Path) -> None:
        """Write the graph in hnswlib's own format."""
        self._graph.save_index(str(path))

    def _empty(self, room: int) -> Any:
        graph = hnswlib.Index("ip", self._width)
        now = self._settings
        graph.init_index(room, M=now.m, ef_construction=now.ef_construction, random_seed=now.seed)
        graph.set_num_threads(now.threads)
        return graph

    def _write(self, ids: Sequence[str], vectors: Vectors) -> None:
        if not len(ids):
            return
        end = self._next + len(ids)
        if end > self._graph.get_max_elements():
            self._graph.resize_index(max(end, 2 * self._graph.get_max_elements()))
        labels = range(self._next, end)
        self._graph.add_items(vectors, np.arange(self._next, end), num_threads=self._settings.threads)
        self._labels.update(zip(ids, labels, strict=True))
        self._names.update(zip(labels, ids, strict=True))
        self._next = end

    def _forget(self, ids: Sequence[str]) -> None:
        for item in ids:
            label = self._labels.pop(item)
            del self._names[label]
            self._graph.mark_deleted(label)

    def _tidy(self) -> None:
        if self._next > SMALLEST and self.deleted > DELETED_SHARE * self._next:
            self.compact()

    def _exact(self) -> ExactIndex:
        ids = list(self._labels)
        return ExactIndex.of(ids, self.vectors(ids))

    def _hits(
        self,
        labels: NDArray[np.uint64],
        distances: NDArray[np.float32],
        k: int,
        exclude: Sequence[Collection[str]] | None,
    ) -> list[Hits]:
        """Name what the graph found, without what is excluded, by score and then id."""
        found = []
        for query, (row, far) in enumerate(zip(labels.tolist(), distances.tolist(), strict=True)):
            hidden = exclude[query] if exclude is not None else ()
            ranked = sorted(self._named(row, far, hidden))[:k]
            found.append(Hits(tuple(name for _, name in ranked), tuple(1.0 - distance for distance, _ in ranked)))
        return found

    def _named(
        self, labels: Sequence[int], distances: Sequence[float], hidden: Collection[str]
    ) -> Iterator[tuple[float, str]]:
        for label, distance in zip(labels, distances, strict=True):
            name = self._names.get(label)
            if name is not None and name not in hidden:
                yield distance, name
