"""The catalogue that a run ranks, and what comparison models may learn from, from logs or from sample files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from m6rec_core.baselines import RetrievalData, RetrievalRows, retrieval_data
from m6rec_core.errors import DataError
from m6rec_core.logs.leave_one_out import LeaveOneOut
from m6rec_core.logs.schema import Logs
from m6rec_core.types import Item, Sample
from m6rec_plugin_retrieval.derive import split_logs
from m6rec_plugin_retrieval.sample import RetrievalSample
from m6rec_plugin_retrieval.settings import RetrievalConfig

IntArray = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Catalogue:
    """`items` [I] and their codes by id; `unseen` [I]; `data`: for comparison models; `left`: the split of logs.

    `left` is None where the rows come from sample files.
    """

    items: tuple[Item, ...]
    code: Mapping[str, int]
    unseen: NDArray[np.bool_]
    data: RetrievalData
    left: LeaveOneOut | None

    def histories(self, rows: Sequence[RetrievalSample]) -> tuple[tuple[int, ...], ...]:
        """Item codes of all that the users of held-out rows did before, oldest first; of sample files, what is there.

        The model's text holds the latest of them only; comparison models get them all.
        """
        if self.left is None:
            return tuple(tuple(self.code[event.item.item_id] for event in row.history) for row in rows)
        position = {user_id: code for code, user_id in enumerate(self.left.user_ids)}
        found = []
        for row in rows:
            sequence = self.left.item[self.left.events[position[row.user_id]]]
            target = self.code[row.candidate.item_id] if row.candidate is not None else -1
            # The target is one of the last two events: the test item, or the valid item before it.
            back = 1 if int(sequence[-1]) == target else 2
            found.append(tuple(sequence[:-back].tolist()))
        return tuple(found)

    def rows(self, rows: Sequence[RetrievalSample]) -> RetrievalRows:
        """The rows as comparison models see them."""
        return RetrievalRows(self.histories(rows), codes_of(self, rows))


def open_catalogue(
    logs: Logs | None, parts: Mapping[str, Sequence[Sample]], config: RetrievalConfig, seed: int
) -> Catalogue:
    """The catalogue of a run; without logs, every item that occurs in its samples."""
    if logs is not None:
        split = split_logs(logs, config, seed)
        code = {item.item_id: n for n, item in enumerate(split.items)}
        return Catalogue(
            split.items, code, split.unseen, retrieval_data(split.left, split.items, split.unseen), split.left
        )
    samples = [s for part in ("train", "valid", "test") for s in parts[part] if isinstance(s, RetrievalSample)]
    items: dict[str, Item] = {}
    for sample in samples:
        for item in [*(event.item for event in sample.history), *([sample.candidate] if sample.candidate else [])]:
            items.setdefault(item.item_id, item)
    code = {item_id: n for n, item_id in enumerate(items)}
    unseen = np.zeros(len(items), dtype=bool)
    data = RetrievalData(items=tuple(items.values()), train=_sequences(parts["train"], code), unseen=unseen)
    return Catalogue(tuple(items.values()), code, unseen, data, None)


def codes_of(catalogue: Catalogue, rows: Sequence[RetrievalSample]) -> IntArray:
    """Codes [N] of the rows' candidates. Raises DataError for a row without one."""
    for row in rows:
        if row.candidate is None:
            raise DataError(f"sample {row.id}: no candidate; held-out rows need the item that followed")
    return np.array([catalogue.code[row.candidate.item_id] for row in rows if row.candidate], dtype=np.int64)


def _sequences(train: Sequence[Sample], code: Mapping[str, int]) -> tuple[IntArray, ...]:
    """The longest sequence that the training pairs of each user show."""
    longest: dict[str, list[int]] = {}
    for sample in train:
        if isinstance(sample, RetrievalSample) and sample.candidate is not None:
            sequence = [*(code[e.item.item_id] for e in sample.history), code[sample.candidate.item_id]]
            if len(sequence) > len(longest.get(sample.group, [])):
                longest[sample.group] = sequence
    return tuple(np.array(one, dtype=np.int64) for one in longest.values())
