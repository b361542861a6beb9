"""INSPIRED (Hayati et al. 2020) in its public form: a table with tabs, one utterance a row."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import groupby
from pathlib import Path

import click

from m6rec_core.errors import DataError
from m6rec_core.logs.source_files import find, needed, read_text
from m6rec_core.text.template import clean
from m6rec_core.types import Item
from m6rec_plugin_conversation.dialogues import (
    Dialogue,
    Message,
    Skipped,
    distinct,
    drawn_parts,
    validated,
    write_parts,
)
from m6rec_plugin_conversation.sample import Speaker

FILES = {"train": ("train.tsv",), "valid": ("dev.tsv",), "test": ("test.tsv",)}
COLUMNS = ("dialog_id", "speaker", "text", "movies")
SPEAKERS: Mapping[str, Speaker] = {"SEEKER": "seeker", "RECOMMENDER": "recommender"}
QUOTE = "QUOTATION_MARK"
"""How the files write a quotation mark in a text."""
_QUOTED = re.compile(r'"((?:[^"]|"")*""(?:[^"]|"")*)"')
"""A cell that was quoted because it has a quotation mark in it. Other quotation marks are part of their cell."""


def write_inspired(source: Path | None, target: Path) -> None:
    """Write a sample per reply. Parts are those of the files; without dev.tsv every tenth training dialogue validates.

    Without train.tsv the dialogues of the other files are drawn into parts by a fixed seed, and standard error says so.
    A dialogue whose id came before, in this file or another, is left out. Raises DataError naming file, line and field.
    """
    skipped = Skipped()
    if source is None or find(source, FILES["train"]) is None:
        needed(source, [name for names in FILES.values() for name in names], "inspired")
    else:
        needed(source, FILES["test"], "inspired")
    folder = source if source is not None else target
    paths = {part: path for part, names in FILES.items() if (path := find(folder, names)) is not None}
    parts = distinct({part: _dialogues(path) for part, path in paths.items()}, skipped)
    if "train" in paths:
        write_parts(validated(parts), target, skipped)
        return
    every = [dialogue for found in parts.values() for dialogue in found]
    names = " and ".join(path.name for path in paths.values())
    click.echo(
        f"drawn: there is no train.tsv, so the {len(every):,} dialogues of {names} are drawn into train, valid and "
        "test (80, 10, 10 %) by a fixed seed; these are not the published parts",
        err=True,
    )
    write_parts(drawn_parts(every), target, skipped)


def _dialogues(path: Path) -> Iterator[Dialogue]:
    rows = list(_rows(path))
    if not rows:
        raise DataError(f"{path}: there is no utterance in it")
    for name, own in groupby(rows, key=lambda row: row["dialog_id"]):
        yield Dialogue(name, tuple(map(_message, own)))


def _message(row: Mapping[str, str]) -> Message:
    """`items` are the films of the column `movies`, which the authors' matching of titles filled."""
    titles = dict.fromkeys(clean(title) for title in row["movies"].split(";"))
    items = tuple(Item(item_id=title, fields={"title": title}) for title in titles if title)
    return Message(SPEAKERS.get(row["speaker"].strip().upper()), row["text"].replace(QUOTE, '"'), items)


def _rows(path: Path) -> Iterator[dict[str, str]]:
    """The columns that are used of each row that is not blank. DataError naming file, line and field."""
    first, *lines = (line.removesuffix("\r").split("\t") for line in read_text(path).split("\n"))
    header = [name.strip() for name in first]
    missing = [name for name in COLUMNS if name not in header]
    if missing:
        raise DataError(f"{path}, line 1: there is no column {missing[0]!r} (there are: {', '.join(header)})")
    for number, cells in enumerate(lines, start=2):
        if not any(map(clean, cells)):
            continue
        if len(cells) != len(header):
            raise DataError(f"{path}, line {number}: it has {len(cells)} cells, the header {len(header)}")
        row = {name: _unquoted(cell) for name, cell in zip(header, cells, strict=True) if name in COLUMNS}
        if not clean(row["dialog_id"]):
            raise DataError(f"{path}, line {number}, field 'dialog_id': is blank")
        yield row


def _unquoted(cell: str) -> str:
    found = _QUOTED.fullmatch(cell)
    return cell if found is None else found[1].replace('""', '"')
