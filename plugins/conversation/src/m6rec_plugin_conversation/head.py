"""The head has no parameters: the language model itself is tuned, writes replies and says how likely titles are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import cast

import torch
from torch import Tensor, nn

from m6rec_core.errors import DataError
from m6rec_core.generation import answer_losses, write_predictions
from m6rec_core.heads.likelihood import TextLikelihood, normalised, row_sums
from m6rec_core.types import Generate, ScoredTokens, TaskView
from m6rec_plugin_conversation.sample import DialoguePrediction, DialogueSample
from m6rec_plugin_conversation.serialize import serialize
from m6rec_plugin_conversation.settings import ConversationConfig


class ConversationHead(nn.Module):
    """Holds the settings, which say how the rows of a sample are arranged."""

    def __init__(self, config: ConversationConfig) -> None:
        """Without parameters and without state."""
        super().__init__()
        self.config = config


def sample_losses(head: ConversationHead, view: TaskView) -> Tensor:
    """Minus the mean log p per token of the reply, plus `title_weight` times that of the recommended titles; [N].

    Raises DataError for a sample without a reply, or with candidates.
    """
    for sample in view.samples:
        if cast(DialogueSample, sample).candidates:
            raise DataError(f"sample {sample.id}: it has candidates, which are for ranking; leave them out of training")
    first = _first_rows(view)
    everyone = range(len(view.samples))
    losses = answer_losses(narrowed(view, everyone, first))
    if bool(first.all()):
        return losses
    films = narrowed(view, everyone, ~first)
    sums, tokens = row_sums(films.scored, films.vocabulary, len(films.sample_of_row))
    rows = losses.new_zeros(len(losses)).index_add(0, films.sample_of_row, (-sums / tokens).to(losses.dtype))
    count = torch.bincount(films.sample_of_row, minlength=len(losses)).clamp(min=1)
    return losses + head.config.title_weight * rows / count


def predictions(head: ConversationHead, view: TaskView, generate: Generate) -> list[DialoguePrediction]:
    """One prediction per sample, in order: a ranking where it has candidates, else the reply."""
    samples = [cast(DialogueSample, sample) for sample in view.samples]
    asked = [place for place, sample in enumerate(samples) if sample.candidates]
    written = [place for place, sample in enumerate(samples) if not sample.candidates]
    found: dict[int, DialoguePrediction] = {}
    ranked = torch.isin(view.sample_of_row, view.sample_of_row.new_tensor(asked))
    if asked:
        rankings = _rankings(head.config, narrowed(view, asked, ranked))
        found.update(zip(asked, rankings, strict=True))
    if written:
        replies = narrowed(view, written, _first_rows(view) & ~ranked)
        hidden = [samples[place].model_copy(update={"reply": None, "recommended": ()}) for place in written]
        rows = [serialize(sample, head.config).rows[0] for sample in hidden]
        texts = write_predictions(
            DialoguePrediction, replies, rows, generate, head.config.decoding, head.config.best
        )  # fmt: skip
        found.update(zip(written, texts, strict=True))
    return [found[place] for place in range(len(samples))]


def narrowed(view: TaskView, samples: Sequence[int], rows: Tensor) -> TaskView:
    """The view of some samples and some of their rows. `rows` [R], boolean: all of them rows of `samples`."""
    kept = rows[view.scored.row]
    place = view.sample_of_row.new_full((len(view.samples),), -1)
    place[list(samples)] = torch.arange(len(samples), device=place.device)
    row = rows.cumsum(0) - 1
    scored = ScoredTokens(view.scored.hidden[kept], view.scored.ids[kept], row[view.scored.row[kept]])
    return replace(
        view,
        samples=tuple(view.samples[one] for one in samples),
        sample_of_row=place[view.sample_of_row[rows]],
        hidden=view.hidden[rows],
        scored=scored,
    )


def _first_rows(view: TaskView) -> Tensor:
    """Whether each row [R] is the first one of its sample; the rows of a sample lie side by side."""
    own = view.sample_of_row
    return torch.cat([own.new_ones(1, dtype=torch.bool), own[1:] != own[:-1]])[: len(own)]


def _rankings(config: ConversationConfig, view: TaskView) -> list[DialoguePrediction]:
    sums, tokens = row_sums(view.scored, view.vocabulary, len(view.sample_of_row))
    found, start = [], 0
    for sample in (cast(DialogueSample, one) for one in view.samples):
        titles = sample.candidates
        stop = start + len(titles)
        lengths = sums.new_tensor([len(title.encode("utf-8", "replace")) for title in titles])
        scores = normalised(TextLikelihood(sums[start:stop], tokens[start:stop], lengths), config.normalise)
        best = scores.argsort(descending=True, stable=True).tolist()
        found.append(
            DialoguePrediction(
                id=sample.id,
                texts=(),
                log_likelihoods=(),
                titles=tuple(titles[one] for one in best),
                title_scores=tuple(scores[best].tolist()),
            )
        )
        start = stop
    return found
