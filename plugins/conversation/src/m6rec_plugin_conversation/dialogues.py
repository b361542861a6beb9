"""A dialogue of any source becomes samples: one for each turn of the recommender that answers something."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np

from m6rec_core.logs.jsonl import write_samples
from m6rec_core.metrics.text.novelty import normalised
from m6rec_core.text.template import clean
from m6rec_core.types import Item
from m6rec_plugin_conversation.sample import DialogueSample, Speaker, Turn, title_of

LONGEST = 2000
"""Characters of a turn; a longer one ends its dialogue, because it could not be shown whole."""
EVERY = 10
"""Of the training dialogues every tenth validates where a data set has no valid part."""
SKIPPED = "skipped.json"

Skipped = Counter[str]
"""Reason -> how many were left out."""


@dataclass(frozen=True, slots=True)
class Message:
    """One message; several of one speaker make a turn. `speaker` None: it is not known who speaks."""

    speaker: Speaker | None
    text: str
    items: tuple[Item, ...] = ()


@dataclass(frozen=True, slots=True)
class Dialogue:
    """A dialogue as a data set has it."""

    id: str
    messages: tuple[Message, ...]
    user_facts: tuple[str, ...] = ()


def samples_of(dialogue: Dialogue, skipped: Skipped) -> list[DialogueSample]:
    """One sample per turn of the recommender behind another turn. What is left out is counted in `skipped`."""
    if any(message.speaker is None for message in dialogue.messages):
        skipped["dialogues with a turn of an unknown speaker"] += 1
        return []
    turns = _turns(dialogue.messages, skipped)
    if not any(turn.speaker == "recommender" for turn in turns[1:]):
        skipped["dialogues without a reply"] += 1
        return []
    skipped["replies that open a dialogue"] += turns[0].speaker == "recommender"
    found = []
    named: set[str] = set()
    for place, turn in enumerate(turns):
        titles = {normalised(title): title for item in turn.items if (title := title_of(item))}
        if place and turn.speaker == "recommender":
            found.append(
                DialogueSample(
                    id=f"{dialogue.id}.{place}",
                    dialogue=dialogue.id,
                    user_facts=dialogue.user_facts,
                    turns=tuple(turns[:place]),
                    reply=turn.text,
                    recommended=tuple(title for key, title in titles.items() if key not in named),
                )
            )
        named |= titles.keys()
    return found


def _turns(messages: Iterable[Message], skipped: Skipped) -> list[Turn]:
    """Messages without blank ones, those of one speaker joined; up to the first turn that is too long."""
    turns: list[Turn] = []
    for message in messages:
        text = clean(message.text)
        if not text or message.speaker is None:
            skipped["blank messages"] += 1
            continue
        if turns and turns[-1].speaker == message.speaker:
            last = turns.pop()
            turn = Turn(speaker=last.speaker, text=f"{last.text} {text}", items=(*last.items, *message.items))
        else:
            turn = Turn(speaker=message.speaker, text=text, items=message.items)
        if len(turn.text) > LONGEST:
            skipped[f"dialogues cut before a turn of more than {LONGEST:,} characters"] += 1
            return turns
        turns.append(turn)
    return turns


def distinct(parts: Mapping[str, Iterable[Dialogue]], skipped: Skipped) -> dict[str, list[Dialogue]]:
    """The dialogues of all parts, each id once: one whose id came before, in this part or another, is counted."""
    found: dict[str, list[Dialogue]] = {part: [] for part in parts}
    known: set[str] = set()
    for part, dialogues in parts.items():
        for dialogue in dialogues:
            if dialogue.id in known:
                skipped["dialogues whose id came before"] += 1
                continue
            known.add(dialogue.id)
            found[part].append(dialogue)
    return found


def validated(parts: Mapping[str, list[Dialogue]]) -> dict[str, list[Dialogue]]:
    """The parts; where there are no valid dialogues, every tenth training dialogue validates and does not train."""
    if parts.get("valid"):
        return dict(parts)
    train = [dialogue for number, dialogue in enumerate(parts["train"], start=1) if number % EVERY]
    return {**parts, "train": train, "valid": parts["train"][EVERY - 1 :: EVERY]}


def drawn_parts(dialogues: Sequence[Dialogue]) -> dict[str, list[Dialogue]]:
    """Dialogues drawn into train (80 %), valid and test by a fixed seed."""
    order = np.random.default_rng(0).permutation(len(dialogues))
    cuts = [len(dialogues) * 8 // 10, len(dialogues) * 9 // 10]
    return {
        part: [dialogues[int(one)] for one in sorted(places)]
        for part, places in zip(("train", "valid", "test"), np.split(order, cuts), strict=True)
    }


def write_parts(parts: Mapping[str, Iterable[Dialogue]], target: Path, skipped: Skipped) -> None:
    """Write the sample files, and what was left out into `skipped.json` and to standard error."""
    for part, dialogues in parts.items():
        samples = [sample for dialogue in dialogues for sample in samples_of(dialogue, skipped)]
        if samples:
            write_samples(target / f"{part}.jsonl", samples)
    counts = {reason: count for reason, count in skipped.items() if count}
    (target / SKIPPED).write_text(json.dumps(counts, indent=2) + "\n", encoding="utf-8")
    if counts:
        click.echo("left out: " + ", ".join(f"{count:,} {reason}" for reason, count in counts.items()), err=True)
