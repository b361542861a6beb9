"""The samples of a task as the arrays that baselines read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from m6rec_core.baselines.data import NO_EVENT, UNKNOWN_OUTCOME, BaselineData, IntArray
from m6rec_core.logs.samples import SampleTable


def baseline_data(table: SampleTable, rows: IntArray | None = None) -> BaselineData:
    """Return the samples of a table (None: all), each with the same history and the same outcomes as its text has.

    As in `Timeline.event`, an event whose outcome was not known yet at the sample's time counts as not liked.
    """
    line = table.timeline
    chosen = np.arange(len(table)) if rows is None else rows
    event, present = _histories(table, chosen)
    known = line.outcome.known[event] < table.time[chosen, None]
    liked = np.where(known, line.outcome.liked[event], 0.0)
    outcome = np.where(np.isnan(liked), UNKNOWN_OUTCOME, liked)
    return BaselineData(
        label=table.label[chosen],
        statistics=table.statistics(chosen),
        time=table.time[chosen],
        user=table.user[chosen],
        item=table.item[chosen],
        history_item=np.where(present, line.events.item[event], NO_EVENT).astype(np.int64),
        history_outcome=np.where(present, outcome, UNKNOWN_OUTCOME).astype(np.int64),
        user_fields=_columns([line.users.get(user_id, {}) for user_id in line.user_ids]),
        item_fields=_columns([item.fields for item in line.items]),
    )


def _histories(table: SampleTable, rows: IntArray) -> tuple[IntArray, np.typing.NDArray[np.bool_]]:
    """Return event indices [n, H], newest last, and where there is an event; the filler's index is a harmless 0."""
    start, stop = table.start[rows], table.stop[rows]
    longest = int((table.stop - table.start).max(initial=0))
    place = stop[:, None] - np.arange(longest, 0, -1)
    present = place >= start[:, None]
    return table.timeline.by_user[np.where(present, place, 0)], present


def _columns(rows: Sequence[Mapping[str, str]]) -> dict[str, tuple[str, ...]]:
    """Turn one mapping per user or item into one tuple per column, "" where missing; columns in first-seen order."""
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: tuple(row.get(name, "") for row in rows) for name in names}
