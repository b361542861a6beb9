"""XRec (Ma, Ren and Huang 2024): summaries of users and items and explanations, all written by a language model.

Each line is {"uid", "iid", "title", "user_summary", "item_summary", "explanation"}. The published parts are pickles,
which are programs; their owner turns them into JSON lines first: `trn.jsonl`, `val.jsonl` and `tst.jsonl`, or one file.
"""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from m6rec_core.config import Domain
from m6rec_core.errors import DataError
from m6rec_core.logs.source_files import field, needed, read_objects
from m6rec_core.text.template import clean
from m6rec_core.types import Item
from m6rec_plugin_explanation.reviews import told
from m6rec_plugin_explanation.sample import ExplanationSample

FILES = {"train": "trn.jsonl", "valid": "val.jsonl", "test": "tst.jsonl"}
TERMS = (
    "XRec (Ma, Ren and Huang 2024, cite them): explanations and summaries were written by a language model from real "
    "reviews; the repository is Apache-2.0, no licence of the data is stated, Yelp's are for academic use only; bring "
    "the files yourself"
)
DESCRIBED = Domain(
    name="described-items",
    noun="item",
    people="users",
    item='an item[ named "{title}"]',
    short_item="{title}",
    user="{summary}",
    events={"rating": "rated", "event": "looked at"},
)
"""Books, places or businesses, and users of whom a text in the column `summary` is known."""


@dataclass(frozen=True, slots=True)
class ReadParts:
    """The samples of each part, and how many rows were left out for which reason."""

    parts: Mapping[str, tuple[ExplanationSample, ...]]
    skipped: Counter[str]


def read_folder(folder: Path) -> ReadParts:
    """Read `FILES` (also .gz), the published parts as they are; a user may be in several.

    Rows without an explanation and rows given twice are left out and counted. Raises DataError naming file, line and
    field, and for a part without rows.
    """
    skipped: Counter[str] = Counter()
    known: set[tuple[str, str, str]] = set()
    parts = {}
    for part, name in FILES.items():
        path = needed(folder, (name,), "xrec")
        parts[part] = _samples(path, name.partition(".")[0], known, skipped)
    return ReadParts(parts, skipped)


def read_file(path: Path) -> ReadParts:
    """Read one file, and draw its users into parts: no user is in two. Left out and raised as for `read_folder`."""
    skipped: Counter[str] = Counter()
    samples = _samples(path, "x", set(), skipped)
    parts = drawn(samples)
    empty = [part for part, chosen in parts.items() if not chosen]
    if empty:
        users = len({sample.user_id for sample in samples})
        raise DataError(f"{path}: too few users ({users}) for a {empty[0]} part; give rows of at least ten")
    return ReadParts(parts, skipped)


def drawn(samples: Sequence[ExplanationSample]) -> dict[str, tuple[ExplanationSample, ...]]:
    """The samples of users that are drawn into train (80 % of the users), valid and test by a fixed seed, in order."""
    users = list(dict.fromkeys(sample.user_id for sample in samples))
    order = np.random.default_rng(0).permutation(len(users))
    cuts = [len(users) * 8 // 10, len(users) * 9 // 10]
    home = {
        users[int(place)]: part for part, places in zip(FILES, np.split(order, cuts), strict=True) for place in places
    }
    return {part: tuple(sample for sample in samples if home[sample.user_id] == part) for part in FILES}


def _samples(
    path: Path, prefix: str, known: set[tuple[str, str, str]], skipped: Counter[str]
) -> tuple[ExplanationSample, ...]:
    """The samples of a file. `known`: user, item and explanation of what came before; it grows."""
    found = []
    for number, (place, row) in enumerate(read_objects(path), start=1):
        sample = _sample(f"{prefix}{number}", place, row)
        key = (sample.user_id, sample.item.item_id, sample.explanation or "")
        if sample.explanation is None:
            skipped["without an explanation"] += 1
        elif key in known:
            skipped["given twice"] += 1
        else:
            known.add(key)
            found.append(sample)
    if not found:
        raise DataError(f"{path}: no row has an explanation that is new ({told(skipped) or 'it is empty'})")
    return tuple(found)


def _sample(name: str, place: str, row: Mapping[str, Any]) -> ExplanationSample:
    """A row. What is said of the user is the user's column `summary`, what is said of the item is its details."""
    user, item = (str(field(place, row, column, (int, str))) for column in ("uid", "iid"))
    title, of_user, of_item = (_text(place, row, column) for column in ("title", "user_summary", "item_summary"))
    fields = {"title": title, "details": of_item}
    return ExplanationSample(
        id=name,
        user_id=user,
        user={"summary": of_user} if of_user else {},
        item=Item(item_id=item, fields={column: text for column, text in fields.items() if text}),
        explanation=clean(field(place, row, "explanation", str)) or None,
    )


def _text(place: str, row: Mapping[str, Any], column: str) -> str:
    """A text on one line; those of Amazon have signs of HTML in them (&amp;)."""
    return clean(html.unescape(field(place, row, column, str)))
