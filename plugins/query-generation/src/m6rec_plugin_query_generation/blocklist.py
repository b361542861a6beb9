"""Words and phrases that no query may hold."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from pathlib import Path

from m6rec_core.errors import DataError
from m6rec_core.logs.source_files import text_lines
from m6rec_core.metrics.text.novelty import normalised


class Blocklist:
    """Says of a query whether it may be shown: it holds no entry, whatever the case, punctuation and width of letters.

    An entry is whole words side by side: "arm" does not block "alarm". An entry with wide characters (Chinese,
    Japanese, Korean), which no blanks part, blocks wherever it stands.
    """

    def __init__(self, entries: Sequence[str]) -> None:
        """Take the entries; blank ones block nothing."""
        known = [entry for entry in map(normalised, entries) if entry]
        self._anywhere = tuple(entry for entry in known if _wide(entry))
        self._words = tuple(f" {entry} " for entry in known if not _wide(entry))

    def __call__(self, query: str) -> bool:
        """Return whether the query may be shown."""
        text = f" {normalised(query)} "
        return not any(entry in text for entry in (*self._anywhere, *self._words))


def read_lines(path: Path, option: str) -> tuple[str, ...]:
    """Return the lines of a text file without blank ones and without doubles. DataError naming option and file when it
    cannot be read or holds none."""
    lines = text_lines(path, option, "entry")
    found = tuple(dict.fromkeys(line.strip() for line in lines if line.strip()))
    if not found:
        raise DataError(f"{option} {path}: there is nothing in it; write one entry a line")
    return found


def _wide(text: str) -> bool:
    return any(unicodedata.east_asian_width(letter) in {"W", "F"} for letter in text)
