"""MovieLens-100K and -1M, from the files of their assets to the tables of `docs/own-data.md`.

Titles are put in the order people say them ("Matrix, The" is "The Matrix"); codes of age and occupation become words;
what the files call unknown is left out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pandas as pd

from m6rec_core.errors import DataError

AGES: Mapping[str, str] = MappingProxyType(
    {"1": "under 18", "18": "18-24", "25": "25-34", "35": "35-44", "45": "45-49", "50": "50-55", "56": "56+"}
)
"""Age codes of MovieLens-1M (its README)."""

OCCUPATIONS = (
    None, "educator", "artist", "clerical worker", "college student", "customer service worker", "doctor", "executive",
    "farmer", "homemaker", "K-12 student", "lawyer", "programmer", "retired person", "salesperson", "scientist",
    "self-employed person", "engineer", "tradesperson", None, "writer",
)  # fmt: skip
"""Occupation codes 0 to 20 of MovieLens-1M (its README) as a noun for a person; "other" and "unemployed" say
nothing."""

_JOBS: Mapping[str, str | None] = MappingProxyType(
    {"none": None, "other": None, "marketing": "marketer", "entertainment": "entertainer",
     "healthcare": "healthcare worker", "retired": "retired person"}
)  # fmt: skip
_GENDERS: Mapping[str, str] = MappingProxyType({"M": "male", "F": "female"})
_UNKNOWN = frozenset({"", "unknown", "unkonwn"})
_ARTICLE = re.compile(r"^(?P<rest>.+), (?P<article>The|A|An|Les|Le|La|L'|Los|Las|El|Il|Lo|O|Das|Der|Die|Det|Den|De)$")
_YEAR = re.compile(r"\s*\((\d{4})\)\s*$")
_SECOND = re.compile(r"^(?P<first>.+?)\s*\((?P<second>[^()]*)\)$")


@dataclass(frozen=True, slots=True)
class MovieLens:
    """One edition: the asset that holds it and the row counts that its files must have."""

    name: str
    ratings: int
    users: int
    items: int


ML_100K = MovieLens("ml-100k", ratings=100_000, users=943, items=1_682)
ML_1M = MovieLens("ml-1m", ratings=1_000_209, users=6_040, items=3_883)


def natural_title(title: str) -> str:
    """Return a title as it is said: article in front, year in brackets removed, also inside a second title in
    brackets."""
    text = _YEAR.sub("", " ".join(title.split()))
    both = _SECOND.match(text)
    if both:
        return f"{natural_title(both['first'])} ({natural_title(both['second'])})" if both["second"].strip() else text
    match = _ARTICLE.match(text.strip())
    if not match:
        return text.strip()
    return f"{match['article']}{'' if match['article'].endswith(chr(39)) else ' '}{match['rest']}"


def tables(edition: MovieLens, folder: Path) -> dict[str, pd.DataFrame]:
    """Return the tables users, items and events from the three files in `folder`; DataError when a row count is
    wrong."""
    read = {part: _read(folder / f"{edition.name}.{part}") for part in ("user", "item", "inter")}
    expected = {"user": edition.users, "item": edition.items, "inter": edition.ratings}
    for part, count in expected.items():
        if len(read[part]) != count:
            raise DataError(
                f"{edition.name}.{part}: {len(read[part]):,} rows, expected {count:,}; fetch the asset again"
            )
    coded = edition is ML_1M
    return {"users": _users(read["user"], coded), "items": _items(read["item"]), "events": _events(read["inter"])}


def _read(path: Path) -> pd.DataFrame:
    frame = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False, quoting=3, encoding="utf-8")
    return frame.rename(columns=lambda name: name.split(":")[0])


def _users(raw: pd.DataFrame, coded: bool) -> pd.DataFrame:
    jobs = [OCCUPATIONS[int(code)] if coded else _JOBS.get(code, code) for code in raw["occupation"]]
    return pd.DataFrame(
        {
            "user_id": _user_ids(raw),
            "age": [AGES[code] if coded else code for code in raw["age"]],
            "gender": [_GENDERS[code] for code in raw["gender"]],
            "occupation": pd.Series(jobs, dtype=object),
        }
    )


def _items(raw: pd.DataFrame) -> pd.DataFrame:
    genres = raw["class"] if "class" in raw else raw["genre"]
    words = [", ".join(word for word in text.split() if word not in _UNKNOWN) for text in genres]
    titles = [_known(natural_title(text)) for text in raw["movie_title"]]
    # One row of ml-100k has its year inside the title and "V" in the column.
    years = [
        year if re.fullmatch(r"\d{4}", year) else (inside[1] if (inside := _YEAR.search(title)) else None)
        for year, title in zip(raw["release_year"], raw["movie_title"], strict=True)
    ]
    return pd.DataFrame(
        {
            "item_id": raw["item_id"],
            "title": pd.Series(titles, dtype=object),
            "year": pd.Series(years, dtype=object),
            "genres": pd.Series([_known(text) for text in words], dtype=object),
        }
    )


def _events(raw: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "user_id": _user_ids(raw),
            "item_id": raw["item_id"],
            "timestamp": raw["timestamp"].astype(np.int64),
            "kind": "rating",
            "value": raw["rating"].astype(np.float64),
        }
    )


def _user_ids(raw: pd.DataFrame) -> pd.Series[str]:
    return raw["user_id"].str.removeprefix("1m_")


def _known(text: str) -> str | None:
    return None if text.lower() in _UNKNOWN else text
