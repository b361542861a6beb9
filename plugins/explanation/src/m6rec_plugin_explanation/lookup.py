"""Who a user is and what an item is, by their ids, from prepared samples or from behaviour logs."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from m6rec_core.errors import DataError
from m6rec_core.logs import read_logs
from m6rec_core.logs.datasets import locate
from m6rec_core.logs.jsonl import parse_line
from m6rec_core.logs.sample_files import read_sample_file
from m6rec_core.logs.sample_folder import find_files
from m6rec_core.text.template import clean
from m6rec_core.types import Event, Item
from m6rec_plugin_explanation.choosing import KIND, short_item
from m6rec_plugin_explanation.sample import ExplanationSample


def look_up(data: str, user: str, item: str) -> ExplanationSample:
    """Return what to explain to the user about the item. `data`: name of a data set, or a folder of samples or logs.

    Of samples, the user's newest one says who the user is and what came before; the item is as in its newest sample.
    Raises DataError for a user or an item that is not there.
    """
    folder = locate(data, progress=False)
    files = find_files(folder)
    found = _from_samples(folder, list(files.values()), user, item) if files else _from_logs(folder, user, item)
    return found


def _from_samples(folder: Path, files: list[Path], user: str, item: str) -> ExplanationSample:
    own: dict[float, ExplanationSample] = {}
    newest: ExplanationSample | None = None
    for sample in _about(files, user, item):
        if sample.user_id == user:
            own[_time(sample)] = sample
        if sample.item.item_id == item and (newest is None or _time(sample) >= _time(newest)):
            newest = sample
    if not own:
        raise DataError(f"--user {user}: {folder} has no sample of this user; ids are case-sensitive")
    if newest is None:
        raise DataError(f"--item {item}: {folder} has no sample of this item; ids are case-sensitive")
    last = own[max(own)]
    history = last.history
    if last.timestamp is not None:
        event = Event(item=short_item(last.item.item_id, last.item.fields), kind=KIND, timestamp=last.timestamp)
        history = (*history, event)
    return ExplanationSample(id=f"{user} {item}", user_id=user, user=last.user, history=history, item=newest.item)


def _about(files: list[Path], user: str, item: str) -> Iterator[ExplanationSample]:
    """The samples of a user and of an item. Other lines are passed over without parsing."""
    needles = tuple(json.dumps(text, ensure_ascii=False).encode() for text in (user, item))
    for path in files:
        if path.suffix == ".parquet":
            for placed in read_sample_file(path, ExplanationSample):
                yield placed.sample
            continue
        try:
            with path.open("rb") as file:
                for number, line in enumerate(file, start=1):
                    if any(needle in line for needle in needles):
                        yield parse_line(f"{path}, line {number}", line, ExplanationSample)
        except OSError as error:
            raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error


def _from_logs(folder: Path, user: str, item: str) -> ExplanationSample:
    logs = read_logs(folder)
    items = {str(row["item_id"]): _fields(row, "item_id") for row in logs.items.to_dict("records")}
    if item not in items:
        raise DataError(f"--item {item}: {logs.source} has no such item; ids are case-sensitive")
    people = logs.users[logs.users["user_id"] == user]
    events = logs.events[logs.events["user_id"] == user]
    if people.empty and events.empty:
        raise DataError(f"--user {user}: {logs.source} has no such user; ids are case-sensitive")
    fields = _fields(people.iloc[0].to_dict(), "user_id") if len(people) else {}
    history = tuple(
        Event(
            item=short_item(str(row["item_id"]), items.get(str(row["item_id"]), {})),
            kind=str(row["kind"]),
            timestamp=float(row["timestamp"]),
        )
        for row in events.to_dict("records")
    )
    return ExplanationSample(
        id=f"{user} {item}", user_id=user, user=fields, history=history, item=Item(item_id=item, fields=items[item])
    )


def _fields(row: dict[str, object], key: str) -> dict[str, str]:
    return {
        str(name): clean(str(value)) for name, value in row.items() if name != key and pd.notna(value) and str(value)
    }


def _time(sample: ExplanationSample) -> float:
    return -math.inf if sample.timestamp is None else sample.timestamp
