"""Users and items as token ids: what an id-based model may know about them, from any table of text columns.

A column becomes tokens when it is categorical: its values are split into words (genres, tags, brands) and the number of
distinct words is small. A column of numbers with many distinct values (a year, an age) becomes ten buckets of equal
share. Columns of free text (titles) and codes that are nearly unique are left out: DIN has the id for that.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from m6rec_core.baselines.data import IntArray

UNKNOWN = 0
"""Token of an unseen id or a missing value, and filler of short lines; its embedding is trained by dropping ids."""

BUCKETS = 10
MAX_WORDS = 200
STRAY = 0.01
MAX_WORDS_PER_VALUE = 12


@dataclass(frozen=True, slots=True, eq=False)
class FieldTokens:
    """One text column as tokens: `tokens` [codes, width], filled up with `UNKNOWN`; `size` counts them, UNKNOWN too."""

    name: str
    tokens: IntArray
    size: int


def _numbers(values: tuple[str, ...]) -> list[float] | None:
    """Return the column as numbers, nan where missing, or None when more than `STRAY` of its values are not numbers."""
    found, stray = [], 0
    for value in values:
        try:
            found.append(float(value) if value.strip() else float("nan"))
        except ValueError:
            found.append(float("nan"))
            stray += 1
    return found if stray <= STRAY * len(values) else None


def _buckets(name: str, numbers: list[float]) -> FieldTokens:
    column = np.asarray(numbers, dtype=np.float64)
    known = np.isfinite(column)
    edges = np.unique(np.quantile(column[known], np.linspace(0, 1, BUCKETS + 1)[1:-1]))
    codes = np.where(known, np.searchsorted(edges, column, side="right") + 1, UNKNOWN)
    return FieldTokens(name, codes[:, None].astype(np.int64), edges.size + 2)


def _words(value: str) -> list[str]:
    """Split at | , ; / where one occurs, else at spaces: "Action|Sci-Fi", "Action Sci-Fi", "Home, Garden"."""
    parts = re.split(r"[|,;/]", value) if re.search(r"[|,;/]", value) else value.split()
    return list(dict.fromkeys(part.strip().lower() for part in parts if part.strip()))


def field_tokens(name: str, values: tuple[str, ...]) -> FieldTokens | None:
    """Return a column as tokens, or None when it is not categorical (see the module)."""
    numbers = _numbers(values)
    if numbers is not None:
        distinct = np.unique([x for x in numbers if np.isfinite(x)]).size
        if distinct > BUCKETS:
            return _buckets(name, numbers)
    split = [_words(value) for value in values]
    vocabulary = {word: code for code, word in enumerate(sorted({word for words in split for word in words}), start=1)}
    width = max((len(words) for words in split), default=0)
    if not vocabulary or len(vocabulary) > min(MAX_WORDS, max(2, len(values) // 2)) or width > MAX_WORDS_PER_VALUE:
        return None
    tokens = np.full((len(values), width), UNKNOWN, dtype=np.int64)
    for row, words in enumerate(split):
        tokens[row, : len(words)] = [vocabulary[word] for word in words]
    return FieldTokens(name, tokens, len(vocabulary) + 1)


def table_tokens(fields: Mapping[str, tuple[str, ...]]) -> tuple[FieldTokens, ...]:
    """Return the categorical columns of a table, in its order."""
    found = (field_tokens(name, values) for name, values in fields.items())
    return tuple(field for field in found if field is not None)


def known_ids(codes: IntArray, seen: IntArray) -> tuple[IntArray, int]:
    """Return `codes` [n] renumbered from 1 where they occur in `seen`, `UNKNOWN` elsewhere, and the number of ids + 1.

    An embedding of an id that was never trained is noise; `UNKNOWN` is trained by dropping ids at random.
    """
    vocabulary = np.unique(seen)
    if vocabulary.size == 0:
        return np.full_like(codes, UNKNOWN), 1
    place = np.minimum(np.searchsorted(vocabulary, codes), vocabulary.size - 1)
    found = np.where(vocabulary[place] == codes, place + 1, UNKNOWN)
    return found.astype(np.int64), int(vocabulary.size) + 1
