"""Baselines that need no language model. Each gives a category and a title per sample."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import cast

from m6rec_core.generation import TextBaseline, nearest_answers
from m6rec_core.text.template import clean
from m6rec_core.types import RunView, Sample
from m6rec_plugin_product_design.head import unanswered
from m6rec_plugin_product_design.sample import DesignSample
from m6rec_plugin_product_design.serialize import item_texts
from m6rec_plugin_product_design.settings import DesignConfig

Pairs = list[tuple[str, str]]
DesignBaseline = Callable[[RunView, Sequence[Sample]], Pairs | None]
"""(category, title) for each sample, ("", "") for nothing; None where it cannot be had."""


def titles(baseline: DesignBaseline) -> TextBaseline:
    """The titles alone, as the report wants them."""

    def texts(run: RunView, samples: Sequence[Sample]) -> list[str] | None:
        pairs = baseline(run, samples)
        return None if pairs is None else [title for _, title in pairs]

    return texts


def asked(sample: Sample) -> str:
    """What leads to the product, in words: titles and categories of the history, and the wishes."""
    sample = cast(DesignSample, sample)
    past = [" ".join(map(clean, event.item.fields.values())) for event in sample.history]
    given = sample.category if sample.title is None else ""
    return " ".join(text for text in (*past, *map(clean, sample.attributes.values()), clean(given)) if text)


def last_title(run: RunView, samples: Sequence[Sample]) -> Pairs | None:
    """The last product of the history once more; None where no sample has a history."""
    found = [_last(cast(DesignSample, sample), _config(run)) for sample in samples]
    return found if any(title for _, title in found) else None


def popular_title(run: RunView, samples: Sequence[Sample]) -> Pairs | None:
    """The title that training rows bought most often in the given category, or in that of the last product; of all
    titles where that is not known. None without training rows."""
    config, counts = _config(run), Counter[tuple[str, str]]()
    for row in _known(run):
        counts[clean(row.category), clean(row.title or "")] += 1
    if not counts:
        return None
    best: dict[str, tuple[str, str]] = {}
    for (category, title), _ in counts.most_common():
        best.setdefault(category, (category, title))
    overall = counts.most_common(1)[0][0]
    return [best.get(_category(cast(DesignSample, sample), config), overall) for sample in samples]


def nearest_product(run: RunView, samples: Sequence[Sample]) -> Pairs | None:
    """The product that followed on the nearest training row (TF-IDF of `asked`); None without training rows."""
    config, known = _config(run), _known(run)
    if not known:
        return None
    places = [str(place) for place in range(len(known))]
    texts = [asked(unanswered(row, config)) for row in known]
    wanted = [asked(unanswered(cast(DesignSample, sample), config)) for sample in samples]
    near = nearest_answers(texts, places, wanted, config.metric_tokens or "13a")
    return [(clean(known[int(place)].category), clean(known[int(place)].title or "")) for place in near]


def wishes(run: RunView, samples: Sequence[Sample]) -> Pairs | None:
    """The attributes and the given category in a row; None where no sample has any."""
    asking = [unanswered(cast(DesignSample, sample), _config(run)) for sample in samples]
    if not any(sample.attributes for sample in asking):
        return None
    texts = [(*one.attributes.values(), one.category) for one in asking]
    return [
        (clean(one.category), " ".join(word for text in parts if (word := clean(text))))
        for one, parts in zip(asking, texts, strict=True)
    ]


def _last(sample: DesignSample, config: DesignConfig) -> tuple[str, str]:
    return item_texts(sample.history[-1].item, config) if sample.history else ("", "")


def _category(sample: DesignSample, config: DesignConfig) -> str:
    return clean(unanswered(sample, config).category) or _last(sample, config)[0]


def _known(run: RunView) -> list[DesignSample]:
    return [sample for one in run.parts["train"] if (sample := cast(DesignSample, one)).title]


def _config(run: RunView) -> DesignConfig:
    return cast(DesignConfig, run.settings)
