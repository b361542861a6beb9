"""Which film? Recall of the recommended films among candidates ranked by their likelihood given the dialogue.

For each test reply that is the first to name a film, the films of the reply are ranked among others of the catalogue.
Films that the dialogue has named before do not compete. All candidates of a dialogue go through the backbone in one
pass: their rows begin alike (`m6rec_core.tokens.tree`), and titles are all that differs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from m6rec_core.generation import interval_cell, interval_json, signed_cell
from m6rec_core.metrics.bootstrap import Bootstrap
from m6rec_core.metrics.evidence import RowSums, difference, interval
from m6rec_core.metrics.retrieval import recall, target_ranks
from m6rec_core.metrics.text.novelty import normalised
from m6rec_core.types import Prediction, ReportTable, RunView
from m6rec_plugin_conversation.catalogue import run_catalogue, without
from m6rec_plugin_conversation.rivals import answered
from m6rec_plugin_conversation.sample import DialoguePrediction, DialogueSample
from m6rec_plugin_conversation.settings import ConversationConfig

TOP = (1, 10, 50)
Scores = Sequence[Sequence[float]]


@dataclass(frozen=True, slots=True)
class Questions:
    """Test dialogues with candidates, the first `targets[row]` of which the reply recommends. `items`: titles of the
    catalogue; `asked`: candidates per dialogue that the settings ask for, 0 for all."""

    samples: tuple[DialogueSample, ...]
    targets: tuple[int, ...]
    items: int
    asked: int

    @property
    def size(self) -> int:
        """The most candidates that a dialogue has."""
        return max((len(sample.candidates) for sample in self.samples), default=0)


def questions_of(run: RunView) -> Questions:
    """The ranking questions of the test part: equal for equal seed, sample ids and catalogue."""
    config = cast(ConversationConfig, run.settings)
    catalogue = run_catalogue(run)
    samples, targets = [], []
    for sample in (cast(DialogueSample, one) for one in run.parts["test"]):
        wanted = without(sample.recommended, sample.named)
        if not wanted:
            continue
        others = without(catalogue, (*sample.named, *wanted))
        room = config.candidates - len(wanted)
        if config.candidates and room < len(others):
            draw = np.random.default_rng([run.seed, crc32(sample.id.encode())])
            others = tuple(others[int(one)] for one in draw.permutation(len(others))[: max(room, 0)])
        candidates = (*wanted, *others)
        samples.append(sample.model_copy(update={"reply": None, "recommended": (), "candidates": candidates}))
        targets.append(len(wanted))
    return Questions(tuple(samples), tuple(targets), len(catalogue), config.candidates)


def likelihood_scores(questions: Questions, answers: Sequence[Prediction]) -> Scores:
    """The score of each candidate of each question, in the order of the candidates."""
    found = []
    for sample, answer in zip(questions.samples, answers, strict=True):
        ranking = cast(DialoguePrediction, answer)
        scores = dict(zip(ranking.titles, ranking.title_scores, strict=True))
        found.append([scores[title] for title in sample.candidates])
    return found


def popularity_scores(run: RunView, questions: Questions) -> Scores | None:
    """How many training replies recommend each candidate, ties in random order; None without training rows."""
    known = answered(run)
    if not known:
        return None
    counts = Counter(normalised(title) for sample in known for title in sample.recommended)
    ties = random_scores(run, questions)
    return [
        [counts[normalised(title)] + tie for title, tie in zip(sample.candidates, row, strict=True)]
        for sample, row in zip(questions.samples, ties, strict=True)
    ]


def random_scores(run: RunView, questions: Questions) -> Scores:
    """Numbers from 0 to 1, drawn by the seed."""
    draw = np.random.default_rng([run.seed, 1])
    return [draw.random(len(sample.candidates)).tolist() for sample in questions.samples]


def recalls(questions: Questions, scores: Scores) -> dict[str, RowSums]:
    """recall@K of each K of `TOP` below the number of candidates: the mean over dialogues of the share of their films.

    Ties are pessimistic (`m6rec_core.metrics.retrieval.target_ranks`).
    """
    ranks: list[NDArray[np.int64]] = []
    rows: list[int] = []
    for row, (line, count) in enumerate(zip(scores, questions.targets, strict=True)):
        ranks.append(target_ranks(np.tile(np.array(line), (count, 1)), np.arange(count)))
        rows += [row] * count
    size, every = questions.size, np.concatenate(ranks)
    return {f"recall@{k}": recall(every, rows, len(scores), size, k) for k in TOP if k < size}


def signature(name: str, questions: Questions) -> str:
    """E.g. "recall@10|films first named in the reply|candidates:100 drawn|catalogue:1520|ties:pessimistic|rows:60"."""
    drawn = f"{questions.size} drawn" if 0 < questions.asked < questions.items else "whole catalogue"
    return (
        f"{name}|films first named in the reply|candidates:{drawn}|catalogue:{questions.items}|ties:pessimistic|"
        f"rows:{len(questions.samples)}|films:{sum(questions.targets)}"
    )


def recall_report(
    questions: Questions, systems: Mapping[str, Scores], plan: Bootstrap
) -> tuple[list[ReportTable], dict[str, Any]]:
    """Tables for people and numbers for machines; the first system is the model."""
    found = {name: recalls(questions, scores) for name, scores in systems.items()}
    model, *others = found
    names = list(found[model])
    values = {name: {k: interval(one, plan) for k, one in line.items()} for name, line in found.items()}
    leads = {name: {k: difference(found[model][k], found[name][k], plan) for k in names} for name in others}
    title = (
        f"recommended film among {questions.size:,} of {questions.items:,} titles, {len(questions.samples):,} replies "
        "(95 % intervals in brackets)"
    )
    tables = [
        ReportTable(
            title, ("model", *names), tuple((name, *map(interval_cell, line.values())) for name, line in values.items())
        ),
        ReportTable(
            "paired differences in recall (* the 95 % interval excludes 0)",
            ("difference", *names),
            tuple((f"{model} - {name}", *map(signed_cell, line.values())) for name, line in leads.items()),
        ),
    ]
    numbers: dict[str, Any] = {
        "rows": len(questions.samples),
        "systems": {
            name: {k: {**interval_json(one), "signature": signature(k, questions)} for k, one in line.items()}
            for name, line in values.items()
        },
        "difference": {name: {k: interval_json(one) for k, one in line.items()} for name, line in leads.items()},
    }
    return tables, numbers
