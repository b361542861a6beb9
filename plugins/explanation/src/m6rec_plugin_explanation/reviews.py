"""Reviews as people wrote them, and the files they come in. Rows that say too little are left out and counted."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from m6rec_core.errors import DataError
from m6rec_core.logs.source_files import read_objects
from m6rec_core.text.template import clean

NAMES = {
    "user_id": ("user_id", "reviewerID"),
    "item_id": ("item_id", "asin"),
    "timestamp": ("timestamp", "unixReviewTime"),
    "rating": ("rating", "overall"),
    "text": ("text", "reviewText"),
}
"""What a review has, by our name and by that of the Amazon reviews of UCSD."""


@dataclass(frozen=True, slots=True)
class Review:
    """One review. `user`, `item`: text columns, as far as they are known. `timestamp`: seconds since 1970."""

    id: str
    user_id: str
    item_id: str
    timestamp: float
    text: str
    rating: float | None = None
    user: Mapping[str, str] = field(default_factory=dict)
    item: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ReadReviews:
    """The reviews of a file, and how many rows were left out for which reason."""

    reviews: tuple[Review, ...]
    skipped: Counter[str]


def read_reviews(path: Path, items: Mapping[str, Mapping[str, str]] | None = None) -> ReadReviews:
    """Read JSON lines (.jsonl, .json, also .gz), one review each, with our names or UCSD's (`NAMES`).

    `items`: text columns of the items by id. A row without user, item, time or text is left out and counted. Raises
    DataError naming file and line for what is not JSON, and where no row is left.
    """
    known = items or {}
    found: list[Review] = []
    skipped: Counter[str] = Counter()
    for number, (_, row) in enumerate(read_objects(path), start=1):
        values = {ours: next((row[n] for n in names if row.get(n) is not None), None) for ours, names in NAMES.items()}
        timestamp, rating = _number(values["timestamp"]), _number(values["rating"])
        wrong = _wrong(values, timestamp)
        if wrong or timestamp is None:
            skipped[wrong] += 1
            continue
        item = str(values["item_id"])
        found.append(
            Review(
                f"r{number}", str(values["user_id"]), item, timestamp, str(values["text"]), rating, {},
                known.get(item, {}),
            )
        )  # fmt: skip
    if not found:
        raise DataError(f"{path}: no row is a review ({told(skipped) or 'the file is empty'})")
    return ReadReviews(tuple(found), skipped)


def read_items(path: Path) -> dict[str, dict[str, str]]:
    """Read item columns from JSON lines of UCSD's metadata: title, brand, the last category, description.

    Raises DataError naming file and line.
    """
    found: dict[str, dict[str, str]] = {}
    for _, row in read_objects(path):
        item = row.get("item_id", row.get("asin"))
        if item is None:
            continue
        category = row.get("category")
        texts = {
            "title": row.get("title"),
            "brand": row.get("brand"),
            "category": category[-1] if isinstance(category, list) and category else category,
            "description": _joined(row.get("description")),
        }
        fields = {name: clean(text) for name, text in texts.items() if isinstance(text, str) and clean(text)}
        found.setdefault(str(item), fields)
    return found


def told(counts: Mapping[str, int]) -> str:
    """Counts in words: "3 without a text, 1 without a user"."""
    return ", ".join(f"{count:,} {name}" for name, count in counts.items())


def _wrong(values: Mapping[str, object], timestamp: float | None) -> str:
    """Why a row is no review, "" where it is one."""
    if values["user_id"] is None or not clean(str(values["user_id"])):
        return "without a user"
    if values["item_id"] is None or not clean(str(values["item_id"])):
        return "without an item"
    if timestamp is None:
        return "without a time"
    return "" if isinstance(values["text"], str) and clean(values["text"]) else "without a text"


def _number(value: object) -> float | None:
    try:
        number = float(value) if isinstance(value, (int, float, str)) else math.nan
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _joined(value: object) -> object:
    return " ".join(str(part) for part in value) if isinstance(value, list) else value
