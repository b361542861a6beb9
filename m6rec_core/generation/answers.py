"""The answer of a task that writes: as scored text in a row, as a loss, and as what the model writes in its place.

A row is a prompt and, where it is known, the answer in a scored segment: " dark walnut table\\n". The newline is scored
too, so the model learns where a text ends, and decoding stops there (`STOP`). In a row with markers (the paper's form)
the scored [EOS] takes the newline's place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

import torch
from torch import Tensor

from m6rec_core.config import DecodingConfig
from m6rec_core.errors import DataError
from m6rec_core.generation.best import Keep, best_texts
from m6rec_core.heads.likelihood import row_sums, token_log_likelihood
from m6rec_core.text.template import clean
from m6rec_core.types import FrozenModel, Generate, Prediction, Region, Segment, TaskView, TextRow

STOP = ("\n",)
"""What ends an answer: the newline that `answer_text` writes behind it."""


class AnswerLikelihood(FrozenModel):
    """log p of a sample's own answer in nats, summed over its `tokens` scored tokens, the newline or [EOS] included."""

    log_likelihood: float
    tokens: int


class TextPrediction(Prediction):
    """The texts written for a sample, best first, none twice, and log p of each.

    `texts` may be empty: nothing was written, or nothing that the task lets through. `answer`: what the model says of
    the sample's own answer, None where the sample has none.
    """

    texts: tuple[str, ...]
    log_likelihoods: tuple[float, ...]
    answer: AnswerLikelihood | None = None


PredictionT = TypeVar("PredictionT", bound=TextPrediction)


def answer_text(text: str, markers: bool = False) -> str:
    """Return an answer as it stands in a row: on one line, a blank before it, a newline behind it.

    `markers`: of a row that ends in [EOS], so without the newline.
    """
    return f" {clean(text)}" if markers else f" {clean(text)}\n"


def answer_segment(text: str, markers: bool = False) -> Segment:
    """Return the scored segment of an answer; `markers` as for `answer_text`."""
    return Segment(answer_text(text, markers), Region.AUTOREGRESSIVE, scored=True, cacheable=False)


def answer_row(segments: Sequence[Segment], answer: str | None, markers: bool) -> TextRow:
    """Return the row of a prompt and its answer, None where that is to be written.

    The last token of the answer is the newline, or with `markers` [EOS] (paper 3.2): both are learnt.
    """
    if answer is None:
        return TextRow(tuple(segments), markers=markers)
    return TextRow((*segments, answer_segment(answer, markers)), markers=markers, scored_end=markers)


def prompt_row(row: TextRow) -> TextRow:
    """Return the row without its answer: what `generate` continues."""
    kept = tuple(segment for segment in row.segments if not segment.scored)
    return replace(row, segments=kept, scored_end=False)


def answer_losses(view: TaskView) -> Tensor:
    """Return minus the mean log p per scored token of each sample [N] (paper 3.2, generation tasks), at least float32.

    Samples have one text row each. Raises DataError naming the first sample without an answer.
    """
    _check_rows(view)
    counts = torch.bincount(view.scored.row, minlength=len(view.samples))
    missing = (counts == 0).nonzero()
    if len(missing):
        sample = view.samples[int(view.sample_of_row[missing[0]])]
        raise DataError(f"sample {sample.id}: it has no answer, so there is nothing to learn from it; add one")
    sums, tokens = row_sums(view.scored, view.vocabulary, len(view.samples))
    losses = -sums / tokens
    return torch.zeros_like(losses).index_copy(0, view.sample_of_row, losses)


def answer_likelihoods(view: TaskView) -> list[AnswerLikelihood | None]:
    """Return what the model says of each sample's answer, None for samples that have none; N of them."""
    _check_rows(view)
    rows = len(view.samples)
    tokens = token_log_likelihood(view.scored, view.vocabulary).detach()
    sums = tokens.new_zeros(rows).index_add(0, view.scored.row, tokens).tolist()
    counts = torch.bincount(view.scored.row, minlength=rows).tolist()
    found: list[AnswerLikelihood | None] = [None] * rows
    for row, sample in enumerate(view.sample_of_row.tolist()):
        if counts[row]:
            found[sample] = AnswerLikelihood(log_likelihood=min(sums[row], 0.0), tokens=counts[row])
    return found


def write_predictions(
    make: type[PredictionT],
    view: TaskView,
    rows: Sequence[TextRow],
    generate: Generate,
    decoding: DecodingConfig,
    best: int = 1,
    allowed: Sequence[str] | None = None,
    keep: Keep | None = None,
) -> list[PredictionT]:
    """Write the answer of each sample of a view: what `decode` returns.

    `rows`: the N samples' text rows in their order, with or without the answer, which is left out. `best`, `keep`: see
    `best_texts`. `allowed`: every text is one of these (`answer_text` of each; hand over the same tuple each time).
    """
    prompts = [prompt_row(row) for row in rows]
    written = generate.write(prompts, decoding, allowed)
    likelihoods = answer_likelihoods(view)
    found = []
    for sample, texts, likelihood in zip(view.samples, written, likelihoods, strict=True):
        chosen = best_texts(texts, best, keep, ranked=decoding.method != "sample")
        found.append(
            make(
                id=sample.id,
                texts=tuple(one.text for one in chosen),
                log_likelihoods=tuple(one.log_likelihood for one in chosen),
                answer=likelihood,
            )
        )
    return found


def _check_rows(view: TaskView) -> None:
    if len(view.sample_of_row) != len(view.samples):
        raise DataError(
            f"task {view.task!r}: {len(view.sample_of_row)} text rows for {len(view.samples)} samples; an answer is "
            "written to one row per sample"
        )
