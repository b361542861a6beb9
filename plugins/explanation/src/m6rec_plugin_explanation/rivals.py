"""Baselines that need no language model: sentences of the training reviews, taken over as they are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import cast

from m6rec_core.generation import nearest_answers
from m6rec_core.metrics.text.novelty import normalised
from m6rec_core.text.template import clean
from m6rec_core.types import RunView, Sample
from m6rec_plugin_explanation.sample import ExplanationSample
from m6rec_plugin_explanation.settings import ExplanationConfig


def asked(sample: Sample) -> str:
    """What leads to the explanation, in words: feature, item, user, and the items of the history."""
    sample = cast(ExplanationSample, sample)
    texts = [sample.feature or "", *sample.item.fields.values(), *sample.user.values()]
    texts += [text for event in sample.history for text in event.item.fields.values()]
    return " ".join(text for text in map(clean, texts) if text)


def frequent_sentence(run: RunView, samples: Sequence[Sample]) -> list[str] | None:
    """The sentence that most training rows of the wanted feature have; of all rows where none is wanted or known.

    Sentences that differ in case and punctuation are one; of equally frequent ones the first row's. None without
    training rows.
    """
    known = _known(run)
    if not known:
        return None
    by_feature: dict[str, list[str]] = {}
    for sample in known:
        by_feature.setdefault(_key(sample.feature), []).append(sample.explanation or "")
    best = {feature: _most_frequent(texts) for feature, texts in by_feature.items()}
    everywhere = _most_frequent([sample.explanation or "" for sample in known])
    return [_of(best, cast(ExplanationSample, sample).feature, everywhere) for sample in samples]


def nearest_review(run: RunView, samples: Sequence[Sample]) -> list[str] | None:
    """The sentence of the training row that asks the nearest thing (TF-IDF of `asked`); None without training rows."""
    known = _known(run)
    if not known:
        return None
    tokens = cast(ExplanationConfig, run.settings).metric_tokens or "13a"
    answers = [sample.explanation or "" for sample in known]
    return nearest_answers([asked(sample) for sample in known], answers, [asked(one) for one in samples], tokens)


def _known(run: RunView) -> list[ExplanationSample]:
    return [sample for one in run.parts["train"] if (sample := cast(ExplanationSample, one)).explanation]


def _key(feature: str | None) -> str:
    return clean(feature or "").lower()


def _of(best: Mapping[str, str], feature: str | None, everywhere: str) -> str:
    return best.get(_key(feature), everywhere) if feature else everywhere


def _most_frequent(texts: Sequence[str]) -> str:
    counts = Counter(map(normalised, texts))
    top = max(counts.values())
    return next(text for text in texts if counts[normalised(text)] == top)
