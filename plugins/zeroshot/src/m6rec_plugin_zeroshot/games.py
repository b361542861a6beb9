"""The data set amazon-games: titles and sequences of the public files, as sample files of the "clicked-random" form.

The files are those of the Games-6k folder of LLMRank (from the UCSD Amazon reviews of 2018, video games); no licence of
the data is stated there, so a user brings them and nothing is redistributed.
"""

from __future__ import annotations

import gzip
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO

import numpy as np

from m6rec_core.config import Domain
from m6rec_core.errors import DataError
from m6rec_core.logs.jsonl import write_samples
from m6rec_core.logs.recipes import Recipe
from m6rec_core.text.template import clean
from m6rec_plugin_zeroshot.derive import Drawing, Tastes
from m6rec_plugin_zeroshot.settings import ZeroshotConfig

GAMES = Domain(
    name="video-games",
    noun="video game",
    people="players",
    item='a video game[ named "{title}"]',
    short_item="{title}",
    events={"event": "played", "click": "clicked", "purchase": "bought", "rating": "rated"},
)
"""Video games and what belongs to them."""

SHARES = {"test": 2_000, "valid": 1_000, "train": 20_000}
"""Users of each part at most; drawn with seed 0, whole sequences, so no user is in two parts."""

HISTORY = 5


def write(source: Path | None, target: Path) -> None:
    """Read `items.tsv[.gz]` and `sequences.tsv[.gz]` of `source`, and write train, valid and test samples to `target`.

    A sample asks for the held-out last item of a user among 4 items (1 in training) that the user never had. Raises
    DataError naming file and line.
    """
    if source is None:
        raise DataError("amazon-games needs --from DIR with items.tsv.gz and sequences.tsv.gz")
    titles = read_titles(_find(source, "items"))
    people = {person.user_id: person for person in read_sequences(_find(source, "sequences"), titles)}
    users = sorted(person.user_id for person in people.values() if len(person.liked) > HISTORY)
    if len(users) < 3:
        raise DataError(f"{source}: {len(users)} users have more than {HISTORY} items; at least 3 are needed")
    order = np.random.default_rng(0).permutation(len(users))
    parts = _parts([users[int(i)] for i in order])
    held_out = frozenset(parts["test"]) | frozenset(parts["valid"])
    counts = Counter(item for user, person in people.items() if user not in held_out for item in person.liked)
    config = ZeroshotConfig(domain=GAMES, history=HISTORY)
    drawing = Drawing(config, titles, counts, np.array(sorted(titles), dtype=object))
    for part, members in parts.items():
        write_samples(target / f"{part}.jsonl", (drawing.sample(people[user], part) for user in members))


def read_titles(path: Path) -> dict[str, str]:
    """Return item id -> title. Raises DataError for a line that has no id and title, or an id that came before."""
    titles: dict[str, str] = {}
    for number, (item, title) in _lines(path, 2):
        if item in titles:
            raise DataError(f"{path}, line {number}, field 'item_id': {item!r} was already given")
        if clean(title):
            titles[item] = clean(title)
    return titles


def read_sequences(path: Path, titles: Mapping[str, str]) -> Iterator[Tastes]:
    """Yield each user's items in their order, the held-out one last. Raises DataError for an item without a title."""
    for number, (user, history, last) in _lines(path, 3):
        items = [*history.split(), last]
        unknown = [item for item in items if item not in titles]
        if unknown:
            raise DataError(f"{path}, line {number}, field 'item_id_list': item {unknown[0]!r} has no title")
        distinct = tuple(dict.fromkeys(reversed(items)))[::-1]
        yield Tastes(user, distinct, tuple(float(i) for i in range(len(distinct))), (), frozenset(items))


def _parts(users: Sequence[str]) -> dict[str, list[str]]:
    """The first users test, the next valid, the rest train, each at most its share and at least one."""
    test = max(1, min(SHARES["test"], len(users) // 10))
    valid = max(1, min(SHARES["valid"], len(users) // 10))
    rest = users[test + valid :]
    return {
        "test": list(users[:test]),
        "valid": list(users[test : test + valid]),
        "train": list(rest[: SHARES["train"]]),
    }


def _find(folder: Path, name: str) -> Path:
    for suffix in (".tsv.gz", ".tsv"):
        if (folder / f"{name}{suffix}").is_file():
            return folder / f"{name}{suffix}"
    raise DataError(f"{folder}: there is no {name}.tsv.gz (or {name}.tsv) in it")


def _lines(path: Path, width: int) -> Iterator[tuple[int, list[str]]]:
    """Yield the number and the fields of each line after the header."""
    try:
        with _open(path) as file:
            for number, line in enumerate(file, start=1):
                fields = line.rstrip("\r\n").split("\t")
                if number == 1 or not line.strip():
                    continue
                if len(fields) != width or not all(field.strip() for field in (fields[0], fields[-1])):
                    raise DataError(
                        f"{path}, line {number}: {len(fields)} fields, expected {width} with an id and a text"
                    )
                yield number, fields
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read ({error})") from error


def _open(path: Path) -> IO[str]:
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8", newline="\n")
    return path.open(encoding="utf-8", newline="\n")


RECIPE = Recipe(
    name="amazon-games",
    summary="titles of video games, who bought what after what (order only)",
    terms="Amazon review data (UCSD, 2018), no licence stated: for research; bring the files yourself",
    write=write,
    domain="video-games",
    source="items.tsv.gz (item_id, title) and sequences.tsv.gz (user_id, item_id_list, item_id)",
)
"""`m6rec data prepare amazon-games --from DIR`."""
