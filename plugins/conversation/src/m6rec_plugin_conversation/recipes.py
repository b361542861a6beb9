"""The data sets: a small example of our own, ReDial, IARD, INSPIRED, and the book dialogues of OpenDialKG."""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path
from typing import Any

from m6rec_core.logs.recipes import Recipe
from m6rec_core.logs.source_files import as_object, field, needed, read_objects
from m6rec_core.text.template import clean
from m6rec_core.types import Item
from m6rec_plugin_conversation.dialogues import Dialogue, Message, Skipped, drawn_parts, write_parts
from m6rec_plugin_conversation.inspired import write_inspired
from m6rec_plugin_conversation.redial import write_iard, write_redial
from m6rec_plugin_conversation.sample import Speaker

BOOK_FILES = ("dialog_Books.jsonl", "dialogues.jsonl")
_FILM = re.compile(r"<([^<>|]+)(?:\|([^<>]+))?>")


def write_examples(source: Path | None, target: Path) -> None:
    """Write the 40 shipped dialogues: every fifth tests (8), every tenth validates (4), the rest trains (28)."""
    del source
    text = files("m6rec_plugin_conversation").joinpath("data/examples.txt").read_text(encoding="utf-8")
    found = [_example(f"e{number}", block) for number, block in enumerate(text.strip().split("\n\n"), start=1)]
    test, valid = found[4::5], found[3::10]
    train = [dialogue for dialogue in found if dialogue not in test and dialogue not in valid]
    write_parts({"train": train, "valid": valid, "test": test}, target, Skipped())


def _example(name: str, block: str) -> Dialogue:
    """Lines "F: a fact", "S: the seeker", "R: the recommender"; a film is <Heat (1995)|crime>."""
    speakers: dict[str, Speaker] = {"S": "seeker", "R": "recommender"}
    facts, messages = [], []
    for line in block.splitlines():
        key, text = line.split(": ", 1)
        if key == "F":
            facts.append(text)
            continue
        items = []
        for title, genres in _FILM.findall(text):
            fields = {"title": title} | ({"genres": genres} if genres else {})
            items.append(Item(item_id=title, fields=fields))
        messages.append(Message(speakers[key], _FILM.sub(lambda found: found[1], text), tuple(items)))
    return Dialogue(name, tuple(messages), tuple(facts))


def write_books(source: Path | None, target: Path) -> None:
    """Write a sample per reply of OpenDialKG's book dialogues, drawn into parts by a fixed seed.

    `items` of a message are the titles that it names. Raises DataError naming file and line.
    """
    path = needed(source, BOOK_FILES, "opendialkg-books")
    speakers: dict[Any, Speaker] = {"user": "seeker", "assistant": "recommender"}
    found = []
    for place, row in read_objects(path):
        messages = []
        for number, one in enumerate(field(place, row, "messages", list), start=1):
            where = f"{place}, message {number}"
            message = as_object(where, one)
            titles = dict.fromkeys(clean(str(title)) for title in field(where, message, "item", list))
            items = tuple(Item(item_id=title, fields={"title": title}) for title in titles if title)
            messages.append(Message(speakers.get(message.get("role")), field(where, message, "text", str), items))
        found.append(Dialogue(str(field(place, row, "dialog_id", (str, int))), tuple(messages)))
    write_parts(drawn_parts(found), target, Skipped())


EXAMPLES = Recipe(
    name="dialogue-examples",
    summary="40 dialogues about films, written for m6rec: enough to see the task run, too few to measure anything",
    terms="Apache-2.0",
    domain="movies",
    write=write_examples,
)
REDIAL = Recipe(
    name="redial",
    summary="dialogues in which one worker recommends films to another",
    terms="CC BY 4.0 (cite Li et al. 2018, ReDial)",
    domain="movies",
    write=write_redial,
    source="train_data.jsonl and test_data.jsonl of ReDial (redialdata.github.io), maybe valid_data.jsonl, also .gz",
)
IARD = Recipe(
    name="iard",
    summary="336 dialogues of ReDial with intent labels, of which the texts are used",
    terms="any research purpose, redistribution under the same conditions (cite Cai and Chen 2020, IARD)",
    domain="movies",
    write=write_iard,
    source=f"the annotated dialogues, one of {', '.join(('iard.json', 'IARD_annotated.json'))}, also .gz",
)
INSPIRED = Recipe(
    name="inspired",
    summary="1,001 dialogues in which one worker recommends films to another in a sociable way",
    terms="no licence stated: for research (cite Hayati et al. 2020, INSPIRED); bring the files yourself",
    domain="movies",
    write=write_inspired,
    source="train.tsv, dev.tsv and test.tsv of INSPIRED (github.com/sweetpeach/Inspired), also .gz; without train.tsv "
    "the parts are drawn",
)
BOOKS = Recipe(
    name="opendialkg-books",
    summary="1,901 dialogues about books",
    terms="CC BY-NC 4.0 (cite Moon et al. 2019, OpenDialKG)",
    domain="products",
    write=write_books,
    source="dialog_Books.jsonl, one dialogue a line with messages of role, text and item, also .gz",
)
