"""Users whose items are asked for, and the K items nearest to each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from m6rec_core.errors import DataError
from m6rec_core.logs import locate, read_logs
from m6rec_core.logs.sample_files import read_sample_file
from m6rec_core.logs.samples import catalogue
from m6rec_core.logs.schema import Logs
from m6rec_core.types import Event, Item
from m6rec_plugin_retrieval.derive import popular, window
from m6rec_plugin_retrieval.encoding import ItemEncoder
from m6rec_plugin_retrieval.index import ExactIndex, VectorIndex, load_index
from m6rec_plugin_retrieval.sample import RetrievalSample
from m6rec_plugin_retrieval.serialize import check_texts
from m6rec_plugin_retrieval.settings import RetrievalConfig
from m6rec_plugin_retrieval.telling import say_on_stderr


@dataclass(frozen=True, slots=True)
class Found:
    """K items for one user, best first. `by`: "vectors", or "popularity" for a user without a history; the score of an
    item is then its number of events."""

    user: str
    by: str
    ids: tuple[str, ...]
    scores: tuple[float, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Shelf:
    """What is searched: the index, the items by id (empty where only an index is known), the ids by popularity."""

    index: VectorIndex
    items: dict[str, Item]
    popular: tuple[tuple[str, int], ...]


def open_logs(data: str) -> Logs:
    """The logs that --data names."""
    return read_logs(locate(data))


def open_shelf(encoder: ItemEncoder, index: Path | None, logs: Logs | None) -> Shelf:
    """Load an index, or encode the whole catalogue of logs, told on standard error, and search it exactly."""
    items = {item.item_id: item for item in catalogue(logs)} if logs is not None else {}
    counts = popular(logs) if logs is not None else ()
    if index is not None:
        return Shelf(load_index(index, encoder.pack_hash).index, items, counts)
    if not items:
        source = logs.source if logs is not None else "--data"
        raise DataError(f"{source}: the catalogue is empty; give items, or an --index")
    check_texts(logs.source if logs is not None else "--data", list(items.values()))
    vectors = encoder.encode_catalogue(list(items.values()), say_on_stderr)
    return Shelf(ExactIndex.of(list(items), vectors), items, counts)


def user_of_logs(logs: Logs, user_id: str, config: RetrievalConfig) -> RetrievalSample:
    """The user with all that they did, cut to the history that the model was tuned with."""
    frame = logs.events[logs.events["user_id"] == user_id]
    if frame.empty and not (logs.users["user_id"] == user_id).any():
        raise DataError(f"{logs.source}: there is no user {user_id!r}; give an id of the users or events table")
    items = {item.item_id: item for item in catalogue(logs)}
    start = window(len(frame), config.sampling.history)
    events = [
        Event(item=items[item], kind=str(kind), timestamp=float(time))
        for item, kind, time in zip(frame["item_id"], frame["kind"], frame["timestamp"], strict=True)
    ]
    known = logs.users[logs.users["user_id"] == user_id].to_dict("records")
    fields = {str(k): v for row in known for k, v in row.items() if k != "user_id" and isinstance(v, str)}
    last = events[-1].timestamp if events else 0.0
    return RetrievalSample(id=user_id, user_id=user_id, user=fields, history=tuple(events[start:]), timestamp=last)


def met(logs: Logs, user_id: str) -> frozenset[str]:
    """All items that a user has an event with."""
    return frozenset(map(str, logs.events.loc[logs.events["user_id"] == user_id, "item_id"]))


def users_of_file(path: Path) -> list[RetrievalSample]:
    """The samples of a .jsonl or .parquet file. Raises DataError naming file, line and field."""
    found = [placed.sample for placed in read_sample_file(path, RetrievalSample)]
    if not found:
        raise DataError(f"{path}: the file holds no users; write one sample with `id` and `history` a line")
    return found


def nearest(
    encoder: ItemEncoder, shelf: Shelf, users: Sequence[RetrievalSample], k: int, exclude: Sequence[frozenset[str]]
) -> list[Found]:
    """The K nearest items of each user, without those of `exclude`; the most popular ones for users without a history.

    Raises DataError when K is larger than the catalogue, or for a user without a history where no logs tell what is
    popular.
    """
    if not 1 <= k <= len(shelf.index):
        raise DataError(f"K is {k}, but the catalogue has {len(shelf.index)} items; choose K from 1 to that")
    warm = [n for n, user in enumerate(users) if user.history]
    found: dict[int, Found] = {}
    if warm:
        vectors = encoder.encode_users([users[n] for n in warm])
        for n, hits in zip(warm, shelf.index.search(vectors, k, [exclude[n] for n in warm]), strict=True):
            found[n] = Found(_name(users[n]), "vectors", hits.ids, hits.scores)
    for n, user in enumerate(users):
        if n not in found:
            found[n] = _popular(user, shelf, k, exclude[n])
    return [found[n] for n in range(len(users))]


def _popular(user: RetrievalSample, shelf: Shelf, k: int, exclude: frozenset[str]) -> Found:
    if not shelf.popular:
        raise DataError(
            f"user {_name(user)!r} has no history, and without --data nothing is known of what is popular; give --data"
        )
    chosen = [(item, count) for item, count in shelf.popular if item not in exclude and item in shelf.index][:k]
    return Found(_name(user), "popularity", tuple(i for i, _ in chosen), tuple(float(c) for _, c in chosen))


def _name(user: RetrievalSample) -> str:
    return user.user_id or user.id


def best_first(scores: Sequence[float]) -> list[int]:
    """Places of scores, highest first, equal ones in their order."""
    return [int(place) for place in np.argsort(-np.asarray(scores, dtype=np.float64), kind="stable")]
