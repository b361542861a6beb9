"""Samples from behaviour logs, by one of two protocols (docs/zeroshot.md).

"sileo" (Sileo et al. 2022): of users with at least 21 likes and 5 dislikes, random liked titles in the prompt, one more
liked title among disliked ones. It does not look at time, as the original does not.

"clicked-random" (paper Fig. 7): the newest liked item among items the user never touched, drawn uniformly; the prompt
holds the last liked titles of strictly earlier moments.

Users are divided into train, valid and test, so no user is in two parts. Popularity counts the events of training
users.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from m6rec_core.config import TaskConfig
from m6rec_core.errors import DataError
from m6rec_core.logs.schema import Logs
from m6rec_core.text.phrasing import short_item
from m6rec_core.types import Item, Sample
from m6rec_plugin_zeroshot.sample import Choice, ChoiceSample
from m6rec_plugin_zeroshot.settings import ZeroshotConfig

LIKES, DISLIKES = 21, 5
"""The fewest likes and dislikes of a user under the protocol "sileo"."""

_SECOND_TITLE = re.compile(r"(?:\s*\([^()]*\))+\s*$")


@dataclass(frozen=True, slots=True)
class Tastes:
    """A user's items, oldest first: `liked` with the `times` of these events, `disliked`, and all `seen`."""

    user_id: str
    liked: tuple[str, ...]
    times: tuple[float, ...]
    disliked: tuple[str, ...]
    seen: frozenset[str]


def derive(logs: Logs, config: TaskConfig, seed: int) -> Mapping[str, Sequence[Sample]]:
    """Return the samples of train, valid and test; `seed` plays no part (see `ZeroshotConfig.draw`).

    Raises DataError when no user has enough events for the protocol.
    """
    del seed
    if not isinstance(config, ZeroshotConfig):
        raise TypeError(f"settings of another task: {type(config).__name__}")
    titles = item_titles(logs)
    people = [person for person in tastes(logs, config, titles).values() if _eligible(person, config)]
    if not people:
        likes, dislikes = _least(config)
        raise DataError(
            f"{logs.source}: no user has the {likes} likes and {dislikes} dislikes that settings.protocol "
            f"{config.protocol} needs; lower settings.history, or change settings.like_at_least"
        )
    parts = divide([person.user_id for person in people], config)
    others = frozenset(parts["valid"]) | frozenset(parts["test"])
    events = logs.events
    counts = Counter(events["item_id"][~events["user_id"].isin(others)])
    by_id = {person.user_id: person for person in people}
    pool = np.array(sorted(titles), dtype=object)
    drawing = Drawing(config, titles, counts, pool)
    return {
        part: [sample for user in users for sample in drawing.samples(by_id[user], part)]
        for part, users in parts.items()
    }


def plain_title(title: str) -> str:
    """Return a title without what stands in brackets at its end: a second title, "(aka ...)", a year."""
    return _SECOND_TITLE.sub("", title).strip() or title.strip()


def item_titles(logs: Logs) -> dict[str, str]:
    """Return the short phrase of each item without second titles; items without text are left out."""
    unnamed = short_item(logs.domain, Item(item_id=""))
    columns = [name for name in logs.items.columns if name != "item_id"]
    found = {}
    for record in logs.items.to_dict("records"):
        fields = {name: record[name] for name in columns if isinstance(record[name], str)}
        title = plain_title(short_item(logs.domain, Item(item_id=record["item_id"], fields=fields)))
        if title != unnamed:
            found[str(record["item_id"])] = title
    return found


def tastes(logs: Logs, config: ZeroshotConfig, titles: Mapping[str, str]) -> dict[str, Tastes]:
    """Return what each user liked and disliked among the items with a title; an item judged twice counts once, at last.

    Events without a value are likes.
    """
    events = logs.events
    seen = _grouped(events["user_id"].to_numpy(), events["item_id"].to_numpy())
    events = events[events["item_id"].isin(list(titles))].drop_duplicates(["user_id", "item_id"], keep="last")
    value = events["value"].to_numpy(dtype=np.float64)
    liked = np.isnan(value) | (value >= config.like_at_least)
    user, item = events["user_id"].to_numpy(), events["item_id"].to_numpy()
    likes = _grouped(user[liked], item[liked])
    times = _grouped(user[liked], events["timestamp"].to_numpy(dtype=np.float64)[liked])
    dislikes = _grouped(
        user[~liked & (value <= config.dislike_at_most)], item[~liked & (value <= config.dislike_at_most)]
    )
    return {
        user: Tastes(user, likes.get(user, ()), times.get(user, ()), dislikes.get(user, ()), frozenset(items))
        for user, items in sorted(seen.items())
    }


def _grouped(users: NDArray[np.object_], values: NDArray[Any]) -> dict[str, tuple[Any, ...]]:
    """Return the values of each user, in their order."""
    found: dict[str, list[Any]] = {}
    for user, value in zip(users.tolist(), values.tolist(), strict=True):
        found.setdefault(str(user), []).append(value)
    return {user: tuple(own) for user, own in found.items()}


def divide(users: Sequence[str], config: ZeroshotConfig) -> dict[str, list[str]]:
    """Divide users at random into parts by the shares of settings.sampling.split; few users still leave a test."""
    order = np.random.default_rng(config.draw).permutation(len(users))
    shuffled = [users[int(i)] for i in order]
    split, count = config.sampling.split, len(users)
    test = max(1, round((1.0 - split.train - split.valid) * count))
    valid = max(1, round(split.valid * count)) if count > 2 else 0
    return {"test": shuffled[:test], "valid": shuffled[test : test + valid], "train": shuffled[test + valid :]}


@dataclass(frozen=True, slots=True, eq=False)
class Drawing:
    """Draws the sample of a user; what it draws depends on the user's id and `config.draw`, not on other users.

    `titles` by item id; `counts`: popularity by item id; `pool`: all item ids, sorted.
    """

    config: ZeroshotConfig
    titles: Mapping[str, str]
    counts: Mapping[str, int]
    pool: NDArray[np.object_]

    def samples(self, person: Tastes, part: str) -> list[ChoiceSample]:
        """Return the user's sample; of a training user those of earlier likes too, where the settings ask for more."""
        found = [self.sample(person, part)]
        if part != "train" or self.config.protocol == "sileo":
            return found
        for back in range(1, min(self.config.train_targets, len(person.liked))):
            past = replace(person, liked=person.liked[:-back], times=person.times[:-back])
            if not _eligible(past, self.config):
                break
            found.append(self.sample(past, part, (back,)).model_copy(update={"id": f"{person.user_id}-{back}"}))
        return found

    def sample(self, person: Tastes, part: str, back: tuple[int, ...] = ()) -> ChoiceSample:
        """Return the user's sample; `back` tells several samples of one user apart.

        Training needs the right choice only, so it has one other beside it.
        """
        chance = np.random.default_rng([self.config.draw, crc32(person.user_id.encode()), *back])
        negatives = 1 if part == "train" else self.config.negatives
        if self.config.protocol == "sileo":
            picked = chance.permutation(len(person.liked))[: self.config.history + 1]
            history, right = [person.liked[int(i)] for i in picked[:-1]], person.liked[int(picked[-1])]
            others = [person.disliked[int(i)] for i in chance.permutation(len(person.disliked))[:negatives]]
        else:
            history, right = list(earlier(person)[-self.config.history :]), person.liked[-1]
            others = unseen(self.pool, person.seen, negatives, chance)
        return self.choice_sample(person.user_id, history, right, others, chance)

    def choice_sample(
        self, user_id: str, history: Sequence[str], right: str, others: Sequence[str], chance: np.random.Generator
    ) -> ChoiceSample:
        """Put the right item among the others, in an order that says nothing."""
        items = [right, *others]
        order = [int(i) for i in chance.permutation(len(items))]
        return ChoiceSample(
            id=user_id,
            user_id=user_id,
            context=tuple(self.titles[item] for item in history),
            context_ids=tuple(history),
            choices=tuple(
                Choice(id=items[i], text=self.titles[items[i]], popularity=float(self.counts.get(items[i], 0)))
                for i in order
            ),
            label=(order.index(0),),
        )


def earlier(person: Tastes) -> tuple[str, ...]:
    """Return the liked items of moments strictly before the newest like, oldest first."""
    return tuple(item for item, time in zip(person.liked, person.times, strict=True) if time < person.times[-1])


def unseen(pool: NDArray[np.object_], seen: frozenset[str], count: int, chance: np.random.Generator) -> list[str]:
    """Return `count` different items of the pool that are not in `seen`, drawn uniformly; DataError when too few."""
    found: dict[str, None] = {}
    if len(pool) - len(seen) < count and sum(item not in seen for item in pool) < count:
        raise DataError(f"only {len(pool)} items have a title, too few for {count} that the user never touched")
    while len(found) < count:
        item = str(pool[int(chance.integers(len(pool)))])
        if item not in seen:
            found[item] = None
    return list(found)


def _least(config: ZeroshotConfig) -> tuple[int, int]:
    if config.protocol == "sileo":
        return max(LIKES, config.history + 1), max(DISLIKES, config.negatives)
    return config.history + 1, 0


def _eligible(person: Tastes, config: ZeroshotConfig) -> bool:
    likes, dislikes = _least(config)
    if config.protocol == "sileo":
        return len(person.liked) >= likes and len(person.disliked) >= dislikes
    return len(person.liked) >= likes and len(earlier(person)) >= config.history
