"""Rent the Runway: reviews of rented clothes (Misra, Wan and McAuley 2018), from a wheel of the package index."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from m6rec_core.assets import Asset
from m6rec_core.config import Domain
from m6rec_core.errors import DataError
from m6rec_core.text.template import clean
from m6rec_plugin_explanation.reviews import ReadReviews, Review

FILE = "data.csv"
ROWS = 192_544
TERMS = (
    "Rent the Runway reviews (Misra, Wan and McAuley 2018, cite them): no licence is stated; use them for research and "
    "do not pass them on"
)
ASSET = Asset(
    name="rent-the-runway",
    kind="data",
    summary="Rent the Runway: 192,544 reviews of rented clothes",
    package="rating-model",
    version="0.1.0",
    wheel="rating_model-0.1.0-py3-none-any.whl",
    sha256="0d8b003311773de8f0ad880f3b6f439e242da1e0e47fab779db69fb22663206c",
    size=32_558_409,
    members=(f"rating_model/data/{FILE}",),
    terms=TERMS,
)
CLOTHES = Domain(
    name="rented-clothes",
    noun="garment",
    people="customers",
    item='a garment[ of category "{category}"][ named "{title}"]',
    short_item="[{title}|{category}]",
    user="A(n) [{age} year old ]customer[ of {body type} body type]",
    events={"rating": "rented", "event": "rented"},
)
"""Clothes that are rented. They have a category and no names."""

NEEDED = ("user_id", "item_id", "review_date", "review_text")
_MONTHS = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip
_DATE = re.compile(r"^(\w+) (\d{1,2}), (\d{4})$")


def read_runway(path: Path, rows: int | None = ROWS) -> ReadReviews:
    """Read the CSV file. `rows`: how many it must have, None for any number.

    Rows without user, item, date or text are left out and counted. Raises DataError when columns or rows are missing.
    """
    found: list[Review] = []
    skipped: Counter[str] = Counter()
    number = 0
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            missing = [name for name in NEEDED if name not in (reader.fieldnames or ())]
            if missing:
                raise DataError(f"{path}: column {missing[0]!r} is missing; fetch the asset again")
            for number, row in enumerate(reader, start=1):
                blank = next((name for name in NEEDED if not clean(row[name] or "")), None)
                time = _time(row["review_date"] or "")
                if blank or time is None:
                    skipped[f"without a {(blank or 'review_date').removeprefix('review_').replace('_id', '')}"] += 1
                else:
                    found.append(_review(number, row, time))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}, after row {number}: cannot be read ({' '.join(str(error).split())})") from error
    if rows is not None and number != rows:
        raise DataError(f"{path}: {number:,} rows, expected {rows:,}; fetch the asset again")
    return ReadReviews(tuple(found), skipped)


def _review(number: int, row: Mapping[str, str | None], time: float) -> Review:
    def text(name: str) -> str:
        return clean(row.get(name) or "")

    occasion = text("rented for")
    facts = [f"size {text('size')}"] if text("size") else []
    facts += [f"rented for {occasion}"] if occasion and occasion != "other" else []
    user = {name: text(name) for name in ("age", "body type", "height") if text(name)}
    item = {"category": text("category"), "details": ", ".join(facts)}
    rating = text("rating")
    return Review(
        id=f"r{number}",
        user_id=text("user_id"),
        item_id=text("item_id"),
        timestamp=time,
        text=row["review_text"] or "",
        rating=float(rating) if rating.replace(".", "", 1).isdigit() else None,
        user=user,
        item={name: value for name, value in item.items() if value},
    )


def _time(date: str) -> float | None:
    match = _DATE.match(clean(date))
    if not match or match[1] not in _MONTHS:
        return None
    try:
        return datetime(int(match[3]), _MONTHS.index(match[1]) + 1, int(match[2]), tzinfo=UTC).timestamp()
    except ValueError:
        return None
