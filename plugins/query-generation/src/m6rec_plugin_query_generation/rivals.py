"""Baselines that need no language model: what a shop without one would do with a need."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import cast

from m6rec_core.generation import nearest_answers
from m6rec_core.metrics.text import TOKENIZERS
from m6rec_core.text.template import clean
from m6rec_core.types import RunView, Sample
from m6rec_plugin_query_generation.sample import QuerySample
from m6rec_plugin_query_generation.settings import QueryConfig

APART = ("zh", "char")
"""Tokenisations that part characters: their tokens are joined without blanks."""


def asked(sample: Sample) -> str:
    """What leads to the query, in words: the need, and the texts of the history's items."""
    sample = cast(QuerySample, sample)
    past = [" ".join(map(clean, event.item.fields.values())) for event in sample.history]
    return " ".join(text for text in (*past, clean(sample.need)) if text)


def nearest_query(run: RunView, samples: Sequence[Sample]) -> list[str] | None:
    """The query of the training row with the nearest need (TF-IDF); None without training rows."""
    known = _known(run)
    if not known:
        return None
    answers = [sample.query or "" for sample in known]
    tokens = cast(QueryConfig, run.settings).metric_tokens or "13a"
    return nearest_answers([asked(sample) for sample in known], answers, [asked(one) for one in samples], tokens)


def whole_need(run: RunView, samples: Sequence[Sample]) -> list[str]:
    """The need itself; the newest thing of the history where there is none."""
    del run
    return [_need(cast(QuerySample, sample)) for sample in samples]


def first_words(run: RunView, samples: Sequence[Sample]) -> list[str] | None:
    """The first words of the need, as many as the median query of the training rows has; None without those."""
    return _cut(run, samples, first=True)


def last_words(run: RunView, samples: Sequence[Sample]) -> list[str] | None:
    """The last words of the need, as many as the median query has; None without training rows."""
    return _cut(run, samples, first=False)


def _cut(run: RunView, samples: Sequence[Sample], first: bool) -> list[str] | None:
    known = _known(run)
    if not known:
        return None
    tokens = cast(QueryConfig, run.settings).metric_tokens or "blanks"
    split, glue = TOKENIZERS[tokens], "" if tokens in APART else " "
    count = max(1, round(median(len(split(sample.query or "")) for sample in known)))
    words = [split(_need(cast(QuerySample, sample))) for sample in samples]
    return [glue.join(one[:count] if first else one[-count:]) for one in words]


def _known(run: RunView) -> list[QuerySample]:
    return [sample for one in run.parts["train"] if (sample := cast(QuerySample, one)).query]


def _need(sample: QuerySample) -> str:
    need = clean(sample.need)
    if need or not sample.history:
        return need
    return next((clean(text) for text in sample.history[-1].item.fields.values() if clean(text)), "")
