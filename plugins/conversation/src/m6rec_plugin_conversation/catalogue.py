"""A catalogue of titles: from a text file, and from the samples of a run."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from m6rec_core.errors import DataError
from m6rec_core.logs.source_files import text_lines
from m6rec_core.metrics.text.novelty import normalised
from m6rec_core.text.template import clean
from m6rec_core.types import RunView
from m6rec_plugin_conversation.sample import DialogueSample
from m6rec_plugin_conversation.settings import ConversationConfig


@dataclass(frozen=True, slots=True)
class Catalogue:
    """Titles, none twice, and how many were left out: `doubles`, and `nameless` ones without a letter or digit.

    Two titles are the same if case, punctuation and blanks are all that differs.
    """

    titles: tuple[str, ...]
    doubles: int = 0
    nameless: int = 0

    @property
    def told(self) -> str:
        """How many titles there are and were left out, in a few words."""
        left_out = [f"{self.doubles:,} named before"] if self.doubles else []
        left_out += [f"{self.nameless:,} without a letter or digit"] if self.nameless else []
        return f"{len(self.titles):,} titles" + (f"; left out: {', '.join(left_out)}" if left_out else "")


def make_catalogue(titles: Iterable[str]) -> Catalogue:
    """The catalogue of titles in their order; blank ones are passed over."""
    kept: dict[str, str] = {}
    doubles = nameless = 0
    for title in map(clean, titles):
        key = normalised(title)
        if not any(letter.isalnum() for letter in title):
            nameless += bool(title)  # an emoji is no name that one could say
        elif key in kept:
            doubles += 1
        else:
            kept[key] = title
    return Catalogue(tuple(kept.values()), doubles, nameless)


def read_catalogue(path: Path) -> Catalogue:
    """The titles of a text file, one a line. DataError naming the file when it cannot be read or holds no title."""
    found = make_catalogue(text_lines(path, "--catalogue", "title"))
    if not found.titles:
        raise DataError(f"--catalogue {path}: there is no title in it; write one a line")
    return found


def run_catalogue(run: RunView) -> tuple[str, ...]:
    """All titles that the samples of a run name or recommend, and those of `settings.catalogue`."""
    samples = [cast(DialogueSample, sample) for part in run.parts.values() for sample in part]
    named = [title for sample in samples for title in (*sample.named, *sample.recommended)]
    return make_catalogue([*named, *cast(ConversationConfig, run.settings).catalogue]).titles


def without(titles: Sequence[str], named: Iterable[str]) -> tuple[str, ...]:
    """The titles that are none of `named`, in their order."""
    gone = {normalised(title) for title in named}
    return tuple(title for title in titles if normalised(title) not in gone)
