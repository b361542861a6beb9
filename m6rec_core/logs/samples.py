"""Events to samples: who, what they did before, the candidate, and the label.

The table keeps numbers for every target row and builds a sample only when it is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from pydantic import ValidationError

from m6rec_core.config import HistoryRule, SamplingConfig
from m6rec_core.errors import ConfigError, DataError
from m6rec_core.logs.labels import Happenings, Outcomes, outcomes
from m6rec_core.logs.schema import Logs
from m6rec_core.logs.split import split_rows
from m6rec_core.logs.statistics import COUNTED, STATISTICS, FloatArray, IntArray, Statistics, statistics_before
from m6rec_core.types import BehaviourSample, Event, Item


@dataclass(frozen=True, slots=True, eq=False)
class Timeline:
    """All m events in time order, and what is known of their users and items; builds and shares `Event` objects.

    `by_user` [m] lists the events grouped by user, each group in time order. `statistics` are as of each event's own
    time; events of a history have the counted ones alone (`COUNTED`). `items` and `users` are by code.
    """

    events: Happenings
    outcome: Outcomes
    statistics: Statistics
    by_user: IntArray
    items: tuple[Item, ...]
    user_ids: tuple[str, ...]
    users: Mapping[str, Mapping[str, str]]
    _built: dict[tuple[int, bool], Event] = field(default_factory=dict, repr=False)

    def event(self, index: int, now: float) -> Event:
        """Return event `index` as it was known at time `now`: an exposure that was answered later is still negative."""
        settled = bool(self.outcome.known[index] < now)
        found = self._built.get((index, settled))
        if found is None:
            liked = self.outcome.liked[index] if settled else 0.0
            found = Event.model_construct(
                item=self.items[self.events.item[index]],
                kind=self.events.kinds[self.events.kind[index]],
                timestamp=float(self.events.time[index]),
                liked=None if np.isnan(liked) else bool(liked),
                statistics=dict(zip(COUNTED, self.statistics.counts[index].tolist(), strict=True)),
            )
            self._built[(index, settled)] = found
        return found


@dataclass(frozen=True, slots=True, eq=False)
class SampleTable:
    """n target rows in time order.

    `label` [n] 1.0 or 0.0; `time` [n] seconds; `user`, `item` [n] codes; `group` [n]: rows of one user that share where
    their history starts, so that they share text; `splits`: ascending row indices of train, valid and test. `event` [n]
    is the target's index in `timeline`; its history is `timeline.by_user[start:stop]`.
    """

    label: FloatArray
    time: FloatArray
    user: IntArray
    item: IntArray
    group: IntArray
    splits: dict[str, IntArray]
    event: IntArray
    start: IntArray
    stop: IntArray
    timeline: Timeline
    sample_type: type[BehaviourSample]
    label_field: str
    _label_value: Callable[[float], object]

    def __len__(self) -> int:
        """Return the number of target rows."""
        return len(self.label)

    def statistics(self, rows: ArrayLike) -> FloatArray:
        """Return [k, 6] (`STATISTICS`), counted strictly before each of the rows. Cheaper for many rows at a time."""
        return self.timeline.statistics.of(self.event[np.asarray(rows, dtype=np.int64)])

    def samples(self, rows: ArrayLike) -> list[BehaviourSample]:
        """Build rows as the task's sample type. Past events and items are shared objects between samples."""
        places = np.asarray(rows, dtype=np.int64)
        labelled = self.label_field in self.sample_type.model_fields
        found = []
        for index, numbers in zip(places.tolist(), self.statistics(places), strict=True):
            fields = self._fields(index, numbers)
            if labelled:
                fields[self.label_field] = self._label_value(float(self.label[index]))
            found.append(self.sample_type.model_construct(**fields))
        return found

    def sample(self, index: int) -> BehaviourSample:
        """Build one row. The statistics of its item's other rows are counted with it, which costs little more, so that
        taking all rows one after the other costs what `samples` does.
        """
        if not self.timeline.statistics.taste.knows(int(self.event[index])):
            self.statistics(np.flatnonzero(self.item == self.item[index]))
        return self.samples([index])[0]

    def sample_id(self, index: int) -> str:
        """The id that the sample of row `index` has."""
        line, event = self.timeline, int(self.event[index])
        return f"{line.user_ids[self.user[index]]}:{line.items[self.item[index]].item_id}:{line.events.row[event]}"

    def choose(self, split: str, rows: int | None, seed: int) -> IntArray:
        """Return the indices of up to `rows` rows of a split, ascending; all of them for None.

        Whole groups are taken in an order drawn from `seed`; the last one is cut to its earliest rows so that the
        count is exact. The choice for fewer rows is contained in the choice for more.
        """
        if split not in self.splits:
            raise ConfigError(f"there is no split {split!r} (there are: {', '.join(self.splits)})")
        found = self.splits[split]
        if rows is None or rows >= len(found):
            return found.copy()
        groups, inverse = np.unique(self.group[found], return_inverse=True)
        rank = np.random.default_rng(seed).permutation(len(groups))
        return np.sort(found[np.lexsort((found, rank[inverse]))[:rows]])

    def cold(self, index: ArrayLike, below: int) -> NDArray[np.bool_]:
        """Return for each row of `index` whether its item or its user has fewer than `below` earlier labelled
        events."""
        counts = self.timeline.statistics.counts[self.event[np.asarray(index, dtype=np.int64)], 3:5]
        cold: NDArray[np.bool_] = (counts < below).max(axis=1)
        return cold

    def _fields(self, index: int, statistics: FloatArray) -> dict[str, Any]:
        line, now = self.timeline, float(self.time[index])
        user_id, candidate = line.user_ids[self.user[index]], line.items[self.item[index]]
        past = line.by_user[self.start[index] : self.stop[index]]
        return {
            "id": self.sample_id(index),
            "user_id": user_id,
            "user": line.users.get(user_id, {}),
            "history": tuple(line.event(int(one), now) for one in past),
            "candidate": candidate,
            "timestamp": now,
            "statistics": dict(zip(STATISTICS, statistics.tolist(), strict=True)),
        }


def build_samples(
    logs: Logs, sampling: SamplingConfig, sample_type: type[BehaviourSample], label_field: str = "label"
) -> SampleTable:
    """Derive the samples of a task from logs: targets, labels, histories, statistics and splits.

    Labels: `m6rec_core.logs.labels`. History: all of the user's events (of any kind) strictly earlier than the
    target, from an anchored start (`HistoryRule`): with k the number of strictly earlier events, from event
    max(0, (k // stride) * stride - events) on, so rows of equal time share their history. Statistics count labelled
    targets. Raises ConfigError for settings that do not fit the logs or the sample type, DataError for targets
    without a label.
    """
    try:
        return _build(logs, sampling, sample_type, label_field)
    except DataError as error:
        raise error if str(error).startswith(str(logs.source)) else DataError(f"{logs.source}: {error}") from error


def _build(logs: Logs, sampling: SamplingConfig, sample_type: type[BehaviourSample], label_field: str) -> SampleTable:
    timeline = _timeline(logs, sampling)
    events, outcome = timeline.events, timeline.outcome
    target = np.flatnonzero(outcome.target)
    start, stop = _histories(timeline, sampling.history)
    group = np.unique(start[target] * len(timeline.user_ids) + events.user[target], return_inverse=True)[1]
    label, time, user, item = outcome.liked[target], events.time[target], events.user[target], events.item[target]
    if len(target) == 0:
        raise DataError(f"{logs.source}: no event is a target; check settings.sampling.target_kinds")
    table = SampleTable(
        label=label, time=time, user=user, item=item,
        group=group.astype(np.int64), splits=split_rows(sampling.split, time, user, item, label), event=target,
        start=start[target], stop=stop[target], timeline=timeline, sample_type=sample_type, label_field=label_field,
        _label_value=bool,
    )  # fmt: skip
    return _fitted(table)


def catalogue(logs: Logs) -> tuple[Item, ...]:
    """Return the items [I] of the items table, in its order; missing cells are left out of their fields."""
    return tuple(Item(item_id=one, fields=fields) for one, fields in _texts(logs.items, "item_id").items())


def _timeline(logs: Logs, sampling: SamplingConfig) -> Timeline:
    frame = logs.events
    kind, kinds = pd.factorize(frame["kind"].to_numpy(dtype=object))
    user, user_ids = pd.factorize(frame["user_id"].to_numpy(dtype=object))
    position = {item_id: code for code, item_id in enumerate(logs.items["item_id"])}
    item = np.fromiter((position[one] for one in frame["item_id"]), dtype=np.int64, count=len(frame))
    events = Happenings(
        user=user.astype(np.int64), item=item, kind=kind.astype(np.int64), kinds=tuple(map(str, kinds)),
        time=frame["timestamp"].to_numpy(dtype=np.float64), value=frame["value"].to_numpy(dtype=np.float64),
        row=frame.index.to_numpy(dtype=np.int64),
    )  # fmt: skip
    outcome = outcomes(events, sampling)
    counted = np.where(outcome.target, outcome.liked, np.nan)
    return Timeline(
        events=events,
        outcome=outcome,
        statistics=statistics_before(events.user, events.item, events.time, counted, outcome.known),
        by_user=np.argsort(events.user, kind="stable").astype(np.int64),
        items=catalogue(logs),
        user_ids=tuple(map(str, user_ids)),
        users=_texts(logs.users, "user_id"),
    )


def _texts(frame: pd.DataFrame, key: str) -> dict[str, dict[str, str]]:
    """Return {id: {column: text}} with missing cells left out, in the order of the table."""
    names = [str(name) for name in frame.columns if name != key]
    columns = [frame[name].tolist() for name in names]
    rows = zip(*columns, strict=True) if columns else (() for _ in range(len(frame)))
    return {
        str(one): {name: text for name, text in zip(names, row, strict=True) if isinstance(text, str)}
        for one, row in zip(frame[key], rows, strict=True)
    }


def _histories(timeline: Timeline, rule: HistoryRule) -> tuple[IntArray, IntArray]:
    """Return start and stop [m] in `by_user` of each event's history, in time order of the events."""
    order = timeline.by_user
    user, time = timeline.events.user[order], timeline.events.time[order]
    place = np.arange(len(order), dtype=np.int64)
    new_user = np.r_[True, user[1:] != user[:-1]]
    new_time = new_user | np.r_[True, time[1:] != time[:-1]]
    begin = np.maximum.accumulate(np.where(new_user, place, 0))
    stop = np.maximum.accumulate(np.where(new_time, place, 0))
    anchor = np.maximum(0, ((stop - begin) // rule.stride) * rule.stride - rule.events)
    back = np.empty_like(order)
    back[order] = place
    return (begin + anchor)[back], stop[back]


def _fitted(table: SampleTable) -> SampleTable:
    """Validate the first sample in full, which fixes how a label is written, so that the others need no validation."""
    fields = table._fields(0, table.statistics([0])[0])
    kind = table.sample_type
    if table.label_field not in kind.model_fields:
        _validated(kind, fields)
        return table
    sample = _validated(kind, {**fields, table.label_field: bool(table.label[0])})
    written = type(getattr(sample, table.label_field))
    if written not in (bool, int, float):
        raise ConfigError(f"{kind.__name__}.{table.label_field} must be a bool, an int or a float to hold a label")
    return SampleTable(**{name: getattr(table, name) for name in table.__slots__} | {"_label_value": written})


def _validated(kind: type[BehaviourSample], fields: dict[str, Any]) -> BehaviourSample:
    try:
        return kind.model_validate(fields)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise ConfigError(f"logs cannot fill the sample type {kind.__name__}: {where}: {first['msg']}") from error
