"""What a baseline is given and what it must return: arrays, no tokens and no text model.

Shapes: n samples (rows), U users, I items, H the longest history.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from m6rec_core.errors import DataError

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

NO_EVENT = -1
"""Filler of `BaselineData.history_item` for samples with fewer events than the longest history."""

UNKNOWN_OUTCOME = -1
"""`history_outcome` of an event without a label under the task's rule (a search beside clicks, say), and of fillers."""


@dataclass(frozen=True, slots=True, eq=False)
class BaselineData:
    """The samples of a run as arrays; the same samples, histories and statistics the text model gets.

    label [n] of 0 and 1. statistics [n, 6]: columns `m6rec_core.logs.statistics.STATISTICS`, counted from rows strictly
    before each sample. time [n] in seconds. user [n] and item [n]: codes into the users and items tables.
    history_item [n, H]: item codes of the events before, oldest first, `NO_EVENT` where there is none (anywhere in the
    line). history_outcome [n, H]: 1 liked, 0 not liked, `UNKNOWN_OUTCOME`, each as it was known at the sample's time.
    user_fields, item_fields: column name -> one text per user [U] or item [I], "" where missing.

    Raises:
        DataError: arrays whose lengths do not fit together.
    """

    label: FloatArray
    statistics: FloatArray
    time: FloatArray
    user: IntArray
    item: IntArray
    history_item: IntArray
    history_outcome: IntArray
    user_fields: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    item_fields: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check that the arrays fit together."""
        rows = self.label.shape[0]
        for name in ("statistics", "time", "user", "item", "history_item"):
            found = getattr(self, name).shape[0]
            if found != rows:
                raise DataError(f"baseline data: {name} has {found} rows, the labels have {rows}")
        if self.history_item.shape != self.history_outcome.shape:
            shapes = f"{self.history_item.shape} and {self.history_outcome.shape}"
            raise DataError(f"baseline data: history items and outcomes have unlike shapes, {shapes}")
        for name, codes, fields in (("user", self.user, self.user_fields), ("item", self.item, self.item_fields)):
            for column, values in fields.items():
                if codes.size and int(codes.max()) >= len(values):
                    raise DataError(f"baseline data: {name} {int(codes.max())} has no value of field {column!r}")


@dataclass(frozen=True, slots=True, eq=False)
class BaselineResult:
    """What a baseline says about the test rows, in their order.

    score [n_test] ranks; probability [n_test] of a positive label. `info` goes to `metrics.json` (rows trained, epochs,
    parameters, settings chosen) and is JSON as it stands.
    """

    score: FloatArray
    probability: FloatArray
    info: Mapping[str, float | int | str | bool] = field(default_factory=dict)


@runtime_checkable
class Baseline(Protocol):
    """A comparison model. Other packages add theirs through the entry point group `m6rec.baselines`.

    `fit_predict` learns from the rows `train`, may choose settings or stop early by the rows `valid`, and scores the
    rows `test` (each [m], indices into `data`) without looking at their labels. The same seed gives the same result,
    and no global random state is left changed.
    """

    @property
    def name(self) -> str:
        """The name in tables: lower case, words joined by hyphens."""
        ...

    def fit_predict(
        self, data: BaselineData, train: IntArray, valid: IntArray, test: IntArray, seed: int
    ) -> BaselineResult:
        """Learn, choose, and score the test rows."""
        ...
