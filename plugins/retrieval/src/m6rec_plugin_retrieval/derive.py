"""Training pairs and held-out rows from behaviour logs: leave one out, and items held out of training where asked."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from m6rec_core.config import HistoryRule, TaskConfig
from m6rec_core.errors import DataError
from m6rec_core.logs.leave_one_out import HELD_OUT, HeldOutPart, LeaveOneOut, leave_one_out, unseen_items
from m6rec_core.logs.samples import build_samples, catalogue
from m6rec_core.logs.schema import Logs
from m6rec_core.logs.statistics import IntArray
from m6rec_core.types import BehaviourSample, Event, Item, Sample
from m6rec_plugin_retrieval.sample import RetrievalSample
from m6rec_plugin_retrieval.serialize import POPULARITY, check_texts
from m6rec_plugin_retrieval.settings import RetrievalConfig

BoolArray = NDArray[np.bool_]
MakeEvent = Callable[[int, float], Event]

POPULARITY_WORDS = ("unknown", "rarely seen", "sometimes seen", "often seen", "very popular")
"""By the share of training events of the items that occur less often: never, below .25, .5, .8, above."""


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """Logs cut by leaving one out: `items` [I] in catalogue order, `unseen` [I] held out of training, `counts` [I] of
    training events."""

    left: LeaveOneOut
    items: tuple[Item, ...]
    unseen: BoolArray
    counts: IntArray


def split_logs(logs: Logs, config: RetrievalConfig, seed: int) -> Split:
    """Cut logs as the settings say. Raises DataError where nobody has three events, for an empty catalogue, and for an
    item without text."""
    items = catalogue(logs)
    if not items:
        raise DataError(f"{logs.source}: the catalogue is empty; retrieval needs items to rank")
    check_texts(logs.source, items)
    left = leave_one_out(logs)
    unseen = unseen_items(left, config.unseen_share, seed)
    flat = np.concatenate([np.zeros(0, dtype=np.int64), *left.train_items(unseen)])
    counts = np.bincount(flat, minlength=len(items)).astype(np.int64)
    if config.item_words:
        items = tuple(_worded(item, word) for item, word in zip(items, popularity_words(counts), strict=True))
    return Split(left, items, unseen, counts)


def derive(logs: Logs, config: TaskConfig, seed: int) -> Mapping[str, Sequence[Sample]]:
    """The samples of "train" (each user's latest pairs), "valid" and "test" (each user's last but one, last event)."""
    if not isinstance(config, RetrievalConfig):
        raise TypeError(f"settings of retrieval are a RetrievalConfig, not {type(config).__name__}")
    split = split_logs(logs, config, seed)
    make = _events(logs, split, config)
    build = _Builder(logs, split, config, make, _users(logs), np.random.default_rng(seed))
    return {
        "train": [sample for code in range(len(split.left.user_ids)) for sample in build.pairs(code)],
        "valid": build.held_out("valid"),
        "test": build.held_out("test"),
    }


def window(before: int, rule: HistoryRule) -> int:
    """Where the history of a target with `before` earlier events starts; see `HistoryRule`."""
    return max(0, (before // rule.stride) * rule.stride - rule.events)


def popularity_words(counts: IntArray) -> list[str]:
    """One of five words for each item, by the share of all training events that less popular items have."""
    order = np.argsort(counts, kind="stable")
    below = np.empty(len(counts), dtype=np.float64)
    total = max(int(counts.sum()), 1)
    below[order] = np.cumsum(counts[order]) / total
    steps = np.searchsorted((0.25, 0.5, 0.8), below) + 1
    return [POPULARITY_WORDS[0 if count == 0 else int(step)] for count, step in zip(counts, steps, strict=True)]


@dataclass(frozen=True, slots=True)
class _Builder:
    logs: Logs
    split: Split
    config: RetrievalConfig
    event: MakeEvent
    users: Mapping[str, Mapping[str, str]]
    generator: np.random.Generator

    def pairs(self, code: int) -> list[RetrievalSample]:
        """The training pairs of a user, oldest first; of "events" the last one, which shows the sequence."""
        left, unseen = self.split.left, self.split.unseen
        events = left.events[code]
        events = events[:-HELD_OUT] if len(events) > HELD_OUT else events
        events = events[~unseen[left.item[events]]]
        most = 1 if self.config.user == "events" else self.config.pairs_per_user
        first = 1 if most is None else max(1, len(events) - most)
        return [self._sample(code, events, place, True) for place in range(first, len(events))]

    def held_out(self, part: HeldOutPart) -> list[RetrievalSample]:
        rows = self.split.left.rows(part)
        return [
            self._sample(int(code), np.append(history, event), len(history), False)
            for code, event, history in zip(rows.user, rows.event, rows.history, strict=True)
        ]

    def _sample(self, code: int, events: IntArray, place: int, train: bool) -> RetrievalSample:
        """The pair of the event at `place` and what precedes it."""
        left, split = self.split.left, self.split
        target = int(events[place])
        item = int(left.item[target])
        now = float(self.logs.events["timestamp"].iat[target])
        start = window(place, self.config.sampling.history)
        user_id = left.user_ids[code]
        share = split.counts[item] / max(int(split.counts.sum()), 1) if train else 1.0
        return RetrievalSample.model_construct(
            id=f"{user_id}:{left.item_ids[item]}:{self.logs.events.index[target]}",
            user_id=user_id,
            user=self.users.get(user_id, {}),
            history=tuple(self.event(int(one), now) for one in events[start:place]),
            candidate=split.items[item],
            negatives=self._negatives(code) if train and self.config.hard_negatives else (),
            timestamp=now,
            log_share=float(np.log(max(share, 1e-9))),
        )

    def _negatives(self, code: int) -> tuple[Item, ...]:
        """Items drawn by popularity that the user met nowhere."""
        own = set(self.split.left.item[self.split.left.events[code]].tolist())
        share = self.split.counts / max(int(self.split.counts.sum()), 1)
        drawn = self.generator.choice(len(share), size=8 * self.config.hard_negatives, p=share)
        kept = [int(one) for one in dict.fromkeys(drawn.tolist()) if one not in own]
        return tuple(self.split.items[one] for one in kept[: self.config.hard_negatives])


def _events(logs: Logs, split: Split, config: RetrievalConfig) -> MakeEvent:
    """Builds an event of the logs by its position; with statistics strictly before it only where they are written."""
    if config.event_words:
        return build_samples(logs, config.sampling, BehaviourSample).timeline.event
    items, codes = split.items, split.left.item
    kinds = logs.events["kind"].to_numpy(dtype=object)
    times = logs.events["timestamp"].to_numpy(dtype=np.float64)
    built: dict[int, Event] = {}

    def event(position: int, now: float) -> Event:
        del now
        if position not in built:
            built[position] = Event.model_construct(
                item=items[codes[position]], kind=str(kinds[position]), timestamp=float(times[position]), liked=None,
                statistics={},
            )  # fmt: skip
        return built[position]

    return event


def _users(logs: Logs) -> dict[str, dict[str, str]]:
    """The text columns of the users table, by user."""
    records = logs.users.to_dict("records")
    return {
        str(row["user_id"]): {str(k): v for k, v in row.items() if k != "user_id" and isinstance(v, str)}
        for row in records
    }


def _worded(item: Item, word: str) -> Item:
    return item.model_copy(update={"fields": {**item.fields, POPULARITY: word}})


def popular(logs: Logs) -> tuple[tuple[str, int], ...]:
    """(item id, number of events) of every item, most events first, equal ones in catalogue order."""
    counts = logs.events["item_id"].value_counts()
    found = [(str(item), int(counts.get(item, 0))) for item in logs.items["item_id"]]
    return tuple(sorted(found, key=lambda pair: -pair[1]))
