"""The head has no parameters: the language model itself is tuned, and writes. Of what it writes the best are chosen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from torch import nn

from m6rec_core.generation import prompt_row
from m6rec_core.generation.answers import answer_likelihoods
from m6rec_core.metrics.text.novelty import normalised
from m6rec_core.text.template import clean
from m6rec_core.types import Generate, TaskView, Written
from m6rec_plugin_product_design.sample import DesignPrediction, DesignSample
from m6rec_plugin_product_design.serialize import parted, serialize
from m6rec_plugin_product_design.settings import DesignConfig


@dataclass(frozen=True, slots=True)
class Design:
    """A product that was written. `mean`: log p per token of what was written."""

    category: str
    title: str
    log_likelihood: float
    mean: float


class DesignHead(nn.Module):
    """Knows the settings."""

    def __init__(self, config: DesignConfig) -> None:
        """Keep the settings."""
        super().__init__()
        self.config = config
        self.decoding = config.writing()


def predictions(head: DesignHead, view: TaskView, generate: Generate) -> Sequence[DesignPrediction]:
    """Design the products of each sample, in order. A sample's own product is taken away before its text is made."""
    hidden = [unanswered(cast(DesignSample, sample), head.config) for sample in view.samples]
    rows = [prompt_row(serialize(sample, head.config).rows[0]) for sample in hidden]
    written = generate.write(rows, head.decoding)
    found = []
    for sample, texts, answer in zip(hidden, written, answer_likelihoods(view), strict=True):
        chosen = chosen_designs([design_of(one, sample, head.config) for one in texts], head.config)
        found.append(
            DesignPrediction(
                id=sample.id,
                texts=tuple(one.title for one in chosen),
                categories=tuple(one.category for one in chosen),
                log_likelihoods=tuple(one.log_likelihood for one in chosen),
                answer=answer,
            )
        )
    return found


def unanswered(sample: DesignSample, config: DesignConfig) -> DesignSample:
    """Return the sample as it is asked: without a title, and without a category that belongs to the answer."""
    if sample.title is None:
        return sample
    return sample.model_copy(update={"title": None, "category": sample.category if config.category_given else ""})


def design_of(written: Written, asked: DesignSample, config: DesignConfig) -> Design:
    """Take a written text apart."""
    if asked.category:
        category, title = asked.category, written.text
    else:
        category, title = parted(written.text, config)
    return Design(category, clean(title), written.log_likelihood, written.log_likelihood / max(written.tokens, 1))


def chosen_designs(designs: Sequence[Design], config: DesignConfig) -> list[Design]:
    """Return up to `best` designs, none without a title and no title twice (`normalised`).

    The likeliest per token comes first; each next one is the likeliest after what `diversity` takes for the share of
    its words that it has in common with the chosen one most like it (Jaccard).
    """
    left: dict[str, Design] = {}
    for one in sorted(designs, key=lambda design: design.mean, reverse=True):
        if one.title:
            left.setdefault(normalised(one.title), one)
    chosen: list[Design] = []
    taken: list[frozenset[str]] = []
    while left and len(chosen) < config.best:
        words = {key: frozenset(key.split()) for key in left}
        shared = {key: max((_overlap(words[key], other) for other in taken), default=0.0) for key in left}
        key = max(left, key=lambda name: left[name].mean - config.diversity * shared[name])
        taken.append(words[key])
        chosen.append(left.pop(key))
    return chosen


def _overlap(one: frozenset[str], other: frozenset[str]) -> float:
    return len(one & other) / max(len(one | other), 1)
