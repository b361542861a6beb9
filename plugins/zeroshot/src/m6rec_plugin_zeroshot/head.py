"""The head has no parameters: the language model's own likelihood of each choice is the answer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from m6rec_core.errors import DataError
from m6rec_core.heads.likelihood import TextLikelihood, normalised, row_sums
from m6rec_core.types import Prediction, TaskView
from m6rec_plugin_zeroshot.sample import ChoicePrediction, ChoiceSample, PromptLikelihood
from m6rec_plugin_zeroshot.serialize import forms
from m6rec_plugin_zeroshot.settings import Average, ZeroshotConfig


class LikelihoodHead(nn.Module):
    """Holds the settings, which say how the rows of a sample are arranged."""

    def __init__(self, config: ZeroshotConfig) -> None:
        """Without parameters and without state."""
        super().__init__()
        self.config = config


@dataclass(frozen=True, slots=True)
class _Answer:
    """One sample's likelihoods: `text` [F, C] of F forms and C choices, `prior` [C] or None."""

    sample: ChoiceSample
    text: TextLikelihood
    prior: Tensor | None


def _answers(head: LikelihoodHead, view: TaskView) -> Iterator[_Answer]:
    """Take the rows of each sample apart again, in the order `serialize` wrote them."""
    rows = len(view.sample_of_row)
    sums, tokens = row_sums(view.scored, view.vocabulary, rows)
    has_prior = head.config.normalise == "prior"
    start = 0
    for sample in (cast(ChoiceSample, s) for s in view.samples):
        count, choices = len(forms(sample, head.config)), len(sample.choices)
        stop = start + (count + has_prior) * choices
        own = sums[start:stop].view(-1, choices)
        lengths = own.new_tensor([len(choice.text.encode("utf-8", "replace")) for choice in sample.choices])
        text = TextLikelihood(own[:count], tokens[start:stop].view(-1, choices)[:count], lengths.expand(count, -1))
        yield _Answer(sample, text, own[count] if has_prior else None)
        start = stop


def combined(scores: Tensor, how: Average) -> Tensor:
    """Return the scores [C] of F forms together, from [F, C]: their mean, or the log of the mean of exponentials."""
    if how == "scores":
        return scores.mean(0)
    return scores.logsumexp(0) - torch.log(scores.new_tensor(float(scores.shape[0])))


def row_losses(head: LikelihoodHead, view: TaskView) -> Tensor:
    """Minus the mean log-likelihood per token of the right choices given the context, one per sample [N] (paper 3.2).

    The normalisation of the scores plays no part, nor do the other choices.
    """
    losses = []
    for answer in _answers(head, view):
        label = answer.sample.label
        if label is None:
            raise DataError(f"sample {answer.sample.id}: no label; fitting needs one in every sample")
        losses.append(-normalised(answer.text, "token")[:, list(label)].mean())
    return torch.stack(losses)


def predictions(head: LikelihoodHead, view: TaskView) -> list[Prediction]:
    """One prediction per sample, in order."""
    config = head.config
    found: list[Prediction] = []
    for answer in _answers(head, view):
        scores = combined(normalised(answer.text, config.normalise, answer.prior), config.average)
        sums = answer.text.sums.tolist()
        found.append(
            ChoicePrediction(
                id=answer.sample.id,
                scores=tuple(scores.tolist()),
                best=answer.sample.choices[int(scores.argmax())].id,
                likelihoods=tuple(
                    PromptLikelihood(prompt=name, sums=tuple(line))
                    for name, line in zip(forms(answer.sample, config), sums, strict=True)
                ),
                prior_sums=() if answer.prior is None else tuple(answer.prior.tolist()),
                tokens=tuple(int(count) for count in answer.text.tokens[0].tolist()),
                lengths=tuple(int(length) for length in answer.text.lengths[0].tolist()),
            )
        )
    return found
