"""ReDial (Li et al. 2018) in its public form, and IARD (Cai and Chen 2020), a labelled part of it."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from m6rec_core.logs.source_files import as_object, field, find, needed, parse, read_objects, read_text
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

FILES = {
    "train": ("train_data.jsonl", "train_dialogues.jsonl"),
    "valid": ("valid_data.jsonl", "valid_dialogues.jsonl"),
    "test": ("test_data.jsonl", "test_dialogues.jsonl"),
}
FILMS = ("movie_info.jsonl",)
IARD_FILES = ("iard.json", "IARD_dataset.json", "IARD_annotated.json")
_MENTION = re.compile(r"@(\d+)")
_IARD_MENTION = re.compile(r"@(\d+)\s*<([^<>]*)>")
NAMELESS = "the movie"
"""What stands for a film whose id has no title."""

Films = Mapping[str, Mapping[str, str]]


def write_redial(source: Path | None, target: Path) -> None:
    """Write a sample per reply. Parts are those of the files; without valid file every tenth training dialogue.

    The form that both speakers filled in afterwards (seen, liked) is not used: it is not known during the dialogue.
    A dialogue whose id came before, in this file or another, is left out. Raises DataError naming file and line.
    """
    needed(source, FILES["test"], "redial")
    folder = source if source is not None else target
    known = find(folder, FILMS)
    films = {} if known is None else dict(_films(known))
    skipped = Skipped()
    read = {part: _dialogues(find(folder, names), films, skipped) for part, names in FILES.items()}
    write_parts(validated(distinct(read, skipped)), target, skipped)


def write_iard(source: Path | None, target: Path) -> None:
    """Write a sample per reply of IARD's dialogues, drawn into parts by a fixed seed. It overlaps ReDial's parts."""
    path = needed(source, IARD_FILES, "iard")
    skipped = Skipped()
    rows = as_object(f"{path}", parse(f"{path}", read_text(path)))
    found = [_labelled(f"{path}, dialogue {name!r}", str(name), row) for name, row in rows.items()]
    write_parts(drawn_parts(found), target, skipped)


def _films(path: Path) -> Iterator[tuple[str, dict[str, str]]]:
    for place, row in read_objects(path):
        genres = field(place, row, "genre", list) if row.get("genre") else []
        yield str(field(place, row, "movie_id", (str, int))), {"genres": ", ".join(map(str, genres))}


def _dialogues(path: Path | None, films: Films, skipped: Skipped) -> Iterator[Dialogue]:
    for place, row in read_objects(path) if path is not None else ():
        yield _dialogue(place, row, films, skipped)


def _dialogue(place: str, row: Mapping[str, Any], films: Films, skipped: Skipped) -> Dialogue:
    mentions = row.get("movieMentions") or {}  # an empty table is written as []
    titles = {str(key): clean(html.unescape(str(name or ""))) for key, name in as_object(place, mentions).items()}
    seeker = field(place, row, "initiatorWorkerId", int)
    recommender = field(place, row, "respondentWorkerId", int)
    speakers: dict[Any, Speaker] = {recommender: "recommender", seeker: "seeker"}
    messages = []
    for number, one in enumerate(field(place, row, "messages", list), start=1):
        where = f"{place}, message {number}"
        message = as_object(where, one)
        text = html.unescape(field(where, message, "text", str))
        ids = list(dict.fromkeys(_MENTION.findall(text)))
        skipped["mentions of a film without a title"] += sum(not titles.get(one) for one in ids)
        items = tuple(
            Item(item_id=one, fields={"title": titles[one], **films.get(one, {})}) for one in ids if titles.get(one)
        )
        text = _MENTION.sub(lambda found: titles.get(found[1]) or NAMELESS, text)
        messages.append(Message(speakers.get(message.get("senderWorkerId")), text, items))
    return Dialogue(str(field(place, row, "conversationId", (str, int))), tuple(messages))


def _labelled(place: str, name: str, row: Any) -> Dialogue:
    turns = field(place, as_object(place, row), "dialogue_info", dict)
    speakers: dict[Any, Speaker] = {"seeker": "seeker", "recommender": "recommender"}
    messages = []
    for key, one in turns.items():
        where = f"{place}, turn {key!r}"
        turn = as_object(where, one)
        text = html.unescape(field(where, turn, "utterance_text", str))
        named = {number: clean(title) for number, title in _IARD_MENTION.findall(text) if clean(title)}
        text = _IARD_MENTION.sub(lambda found: clean(found[2]) or NAMELESS, text)
        items = tuple(Item(item_id=number, fields={"title": title}) for number, title in named.items())
        messages.append(Message(speakers.get(turn.get("role")), text, items))
    return Dialogue(name, tuple(messages))
