"""What an index asks of ids and vectors, checked before anything changes, so that a refused call leaves no trace."""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from m6rec_plugin_retrieval.index.errors import VectorIndexError

Vectors = NDArray[np.float32]

UNIT_TOLERANCE = 1e-3
"""How far a vector's length may be from 1; half-precision encoders are off by less."""


def check_ids(ids: Sequence[str]) -> None:
    """Raise VectorIndexError where an id is no text, is empty or comes twice."""
    seen: set[str] = set()
    for row, item in enumerate(ids):
        if not isinstance(item, str) or not item:
            raise VectorIndexError(f"row {row}: item id {item!r} is not a non-empty text: give ids as text")
        if item in seen:
            raise VectorIndexError(f"row {row}: item id {item!r} comes twice: keep one row per item")
        seen.add(item)


def check_new(ids: Iterable[str], held: Container[str]) -> None:
    """Raise VectorIndexError where an id is held already."""
    for item in ids:
        if item in held:
            raise VectorIndexError(f"item {item!r} is in the index already: update it instead")


def check_held(ids: Iterable[str], held: Container[str]) -> None:
    """Raise VectorIndexError where an id is not held."""
    for item in ids:
        if item not in held:
            raise VectorIndexError(f"item {item!r} is not in the index: add it first")


def unit_vectors(vectors: NDArray[Any], width: int, names: Sequence[str] | None = None) -> Vectors:
    """Return `vectors` [n, width] as contiguous float32, as they are where they are that already.

    `names` tells which rows are wrong (default: their numbers). Raises VectorIndexError for another shape, numbers that
    are not finite, or rows whose length is not 1.
    """
    found = np.ascontiguousarray(vectors, dtype=np.float32)
    rows = None if names is None else len(names)
    if found.ndim != 2 or found.shape[1] != width:
        raise VectorIndexError(f"vectors have shape {list(found.shape)}, but the index has width {width}: encode again")
    if rows is not None and rows != len(found):
        raise VectorIndexError(f"{rows} item ids came with {len(found)} vectors: give one vector per id")
    lengths = np.sqrt(np.einsum("nw,nw->n", found, found))
    wrong = np.flatnonzero(~(np.abs(lengths - 1) <= UNIT_TOLERANCE))  # a NaN compares as false, so it is wrong too
    if wrong.size:
        row = int(wrong[0])
        name = f"row {row}" if names is None else f"item {names[row]!r}"
        what = f"has length {lengths[row]:.4g}" if np.isfinite(lengths[row]) else "holds numbers that are not finite"
        raise VectorIndexError(f"the vector of {name} {what}, not 1: normalise the vectors")
    return found
