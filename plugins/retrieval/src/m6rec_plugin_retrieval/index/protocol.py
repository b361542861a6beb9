"""What every index does, whatever finds the nearest vectors inside."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from numpy.typing import NDArray

from m6rec_plugin_retrieval.index.vectors import Vectors


@dataclass(frozen=True, slots=True)
class Hits:
    """The nearest items of one query, best first, equal scores in the order of ids; `scores` are inner products."""

    ids: tuple[str, ...]
    scores: tuple[float, ...]


class VectorIndex(Protocol):
    """Unit vectors by item id, searched by inner product.

    Every method checks its arguments before it changes anything and raises VectorIndexError. An id that was deleted is
    never found again unless it is added again, and then with its new vector only.
    """

    @property
    def width(self) -> int:
        """Numbers per vector."""

    @property
    def backend(self) -> str:
        """`exact` or `hnsw`."""

    def __len__(self) -> int:
        """Items held."""

    def __contains__(self, item: object) -> bool:
        """Whether the id is held."""

    def ids(self) -> tuple[str, ...]:
        """Return the ids held, in text order."""

    def add(self, ids: Sequence[str], vectors: NDArray[Any]) -> None:
        """Add new items; `vectors` [n, width] of length 1."""

    def update(self, ids: Sequence[str], vectors: NDArray[Any]) -> None:
        """Replace the vectors of items held."""

    def delete(self, ids: Sequence[str]) -> None:
        """Remove items held."""

    def vectors(self, ids: Sequence[str]) -> Vectors:
        """Return the vectors of items held [n, width], in the order asked for."""

    def search(self, queries: NDArray[Any], k: int, exclude: Sequence[Collection[str]] | None = None) -> list[Hits]:
        """Return the `k` nearest items of each query [N, width], without those of `exclude`, one collection per query.

        Fewer come back where fewer are held. Excluded ids that are not held are no error.
        """

    def compact(self) -> int:
        """Give back the room of deleted vectors; return how many there were."""
