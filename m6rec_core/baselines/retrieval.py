"""What a comparison model for retrieval is given and must return, and the two that learn nothing but counts.

Shapes: N rows (users at a time), I items in catalogue order, U users. Items are codes 0 to I - 1 everywhere.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from m6rec_core.baselines.data import IntArray
from m6rec_core.errors import DataError
from m6rec_core.logs.leave_one_out import BoolArray, HeldOutPart, LeaveOneOut
from m6rec_core.types import Item

Float32Array = NDArray[np.float32]

Facts = Mapping[str, float | int | str | bool]

NOT_SCORED = -np.inf
"""The score of an item about which a retriever knows nothing (an unseen item to a model of ids): it ranks last."""


@dataclass(frozen=True, slots=True, eq=False)
class RetrievalRows:
    """N questions: `histories`, N sequences of item codes, oldest first; `targets` [N], the codes to be found.

    Raises:
        DataError: unlike lengths.
    """

    histories: tuple[tuple[int, ...], ...]
    targets: IntArray

    def __post_init__(self) -> None:
        """Check the lengths."""
        if len(self.histories) != len(self.targets):
            raise DataError(f"retrieval rows: {len(self.histories)} histories, {len(self.targets)} targets")

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.targets)

    def where(self, chosen: BoolArray) -> RetrievalRows:
        """Return the rows for which `chosen` [N] is true."""
        index = np.flatnonzero(chosen)
        return RetrievalRows(tuple(self.histories[one] for one in index), self.targets[index])


@dataclass(frozen=True, slots=True, eq=False)
class RetrievalData:
    """What a retriever may learn from.

    `items` [I] in catalogue order. `train`: U sequences of item codes in time order; empty ones are allowed. `unseen`
    [I]: items held out of training, which `train` must not hold. `texts` [I]: the items as text, for models that read
    it; None makes them join the items' own fields (`item_texts`).

    Raises:
        DataError: lengths that do not fit, codes outside the catalogue, unseen items in `train`.
    """

    items: Sequence[Item]
    train: tuple[IntArray, ...]
    unseen: BoolArray
    texts: Sequence[str] | None = None

    def __post_init__(self) -> None:
        """Check what the docstring promises."""
        count = len(self.items)
        if count == 0:
            raise DataError("retrieval data: the catalogue is empty; it needs at least one item")
        if self.unseen.shape != (count,):
            raise DataError(f"retrieval data: `unseen` has shape {self.unseen.shape}, there are {count} items")
        if self.texts is not None and len(self.texts) != count:
            raise DataError(f"retrieval data: {len(self.texts)} texts, {count} items")
        codes = self.events()
        if codes.size and (codes.min() < 0 or codes.max() >= count):
            raise DataError(f"retrieval data: a training sequence holds a code outside 0 to {count - 1}")
        if self.unseen[codes].any():
            raise DataError("retrieval data: a training sequence holds an unseen item")

    def events(self) -> IntArray:
        """Return the item codes of all training events, user by user."""
        return np.concatenate([np.zeros(0, dtype=np.int64), *self.train]).astype(np.int64)

    def counts(self) -> IntArray:
        """Return the number of training events of each item [I]."""
        return np.bincount(self.events(), minlength=len(self.items)).astype(np.int64)

    def item_texts(self) -> tuple[str, ...]:
        """Return one text per item [I]: `texts` where given, else the item's fields joined by commas."""
        return tuple(self.texts) if self.texts is not None else tuple(", ".join(i.fields.values()) for i in self.items)


@runtime_checkable
class FittedRetriever(Protocol):
    """A retriever that has learned. `info` goes to the report: epochs, parameters, settings; JSON as it stands."""

    @property
    def info(self) -> Facts:
        """Facts about the training."""
        ...

    def scores(self, histories: Sequence[Sequence[int]]) -> Float32Array:
        """Return scores [N, I] of all items for N histories of item codes (any length, unseen items included).

        Higher is better; `NOT_SCORED` for items it knows nothing about. The same history gives the same scores, alone
        or among others. Items of the history are scored like any other: whether they may be recommended again is the
        evaluation's decision.
        """
        ...


@runtime_checkable
class Retriever(Protocol):
    """A comparison model for retrieval. Packages add theirs through the entry point group `m6rec.retrievers`.

    `fit` learns from `data`, may stop early or choose settings by the rows `valid`, and tells its progress through
    `say`. The same seed gives the same result, and no global random state is left changed.
    """

    @property
    def name(self) -> str:
        """The name in tables: lower case, words joined by hyphens."""
        ...

    def fit(self, data: RetrievalData, valid: RetrievalRows, seed: int, say: Callable[[str], None]) -> FittedRetriever:
        """Learn; see the class."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class FixedScores:
    """The same scores [I] for every history."""

    values: Float32Array
    info: Facts = field(default_factory=dict)

    def scores(self, histories: Sequence[Sequence[int]]) -> Float32Array:
        """See `FittedRetriever`."""
        return np.tile(self.values, (len(histories), 1))


@dataclass(frozen=True, slots=True)
class Popularity:
    """The number of training events of each item. Unseen items have none and are not scored."""

    name: str = "popularity"

    def fit(self, data: RetrievalData, valid: RetrievalRows, seed: int, say: Callable[[str], None]) -> FittedRetriever:
        """Count. See `Retriever`."""
        values = np.where(data.unseen, NOT_SCORED, data.counts()).astype(np.float32)
        return FixedScores(values, {"events": int(data.events().size)})


@dataclass(frozen=True, slots=True)
class RandomScores:
    """Uniform scores drawn from the seed and the history, for `items` items."""

    items: int
    seed: int
    info: Facts = field(default_factory=dict)

    def scores(self, histories: Sequence[Sequence[int]]) -> Float32Array:
        """See `FittedRetriever`."""
        keys = [zlib.crc32(np.asarray(one, dtype=np.int64).tobytes()) for one in histories]
        drawn = [np.random.default_rng([self.seed, key]).random(self.items, dtype=np.float32) for key in keys]
        return np.stack(drawn) if drawn else np.zeros((0, self.items), dtype=np.float32)


@dataclass(frozen=True, slots=True)
class Random:
    """Scores drawn at random, unseen items included: what a metric is worth by chance."""

    name: str = "random"

    def fit(self, data: RetrievalData, valid: RetrievalRows, seed: int, say: Callable[[str], None]) -> FittedRetriever:
        """Learn nothing. See `Retriever`."""
        return RandomScores(len(data.items), seed)


TRIVIAL_RETRIEVERS: tuple[Retriever, ...] = (Random(), Popularity())
"""The retrievers every report prints, in its order."""


def retrieval_rows(split: LeaveOneOut, part: HeldOutPart) -> RetrievalRows:
    """Return the rows of a held-out part as item codes."""
    rows = split.rows(part)
    return RetrievalRows(split.item_codes(rows.history), split.item[rows.event])


def retrieval_data(
    split: LeaveOneOut, items: Sequence[Item], unseen: BoolArray | None = None, texts: Sequence[str] | None = None
) -> RetrievalData:
    """Return the training part of a split, without the events of `unseen` [I] items. `items` in catalogue order."""
    mask = np.zeros(len(items), dtype=bool) if unseen is None else unseen
    return RetrievalData(items=items, train=split.train_items(mask), unseen=mask, texts=texts)
