"""The report: that of every task that writes, and how often the category is right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

import numpy as np

from m6rec_core.config import TaskConfig
from m6rec_core.generation import MODEL, UNTUNED, TextEvaluation, interval_cell, interval_json
from m6rec_core.metrics.bootstrap import Bootstrap, Interval
from m6rec_core.metrics.evidence import interval, row_mean
from m6rec_core.metrics.text import TextInput
from m6rec_core.metrics.text.novelty import normalised
from m6rec_core.types import Answer, Prediction, Report, ReportTable, RunView, Sample
from m6rec_plugin_product_design.rivals import (
    DesignBaseline,
    asked,
    last_title,
    nearest_product,
    popular_title,
    titles,
    wishes,
)
from m6rec_plugin_product_design.sample import DesignPrediction, DesignSample
from m6rec_plugin_product_design.serialize import answer_of, item_texts
from m6rec_plugin_product_design.settings import DesignConfig

BASELINES: dict[str, DesignBaseline] = {
    "last title": last_title,
    "popular in category": popular_title,
    "nearest history": nearest_product,
    "attributes": wishes,
}


def catalogue(run: RunView) -> tuple[str, ...]:
    """Return the titles that exist, each once: of the items of the logs, else of histories and training products."""
    config = cast(DesignConfig, run.settings)
    if run.logs is not None and config.title_field in run.logs.items:
        return tuple(dict.fromkeys(text for text in run.logs.items[config.title_field] if isinstance(text, str)))
    found: dict[str, None] = {}
    for part, samples in run.parts.items():
        for one in samples:
            sample = cast(DesignSample, one)
            found.update(dict.fromkeys(item_texts(event.item, config)[1] for event in sample.history))
            if part == "train" and sample.title:
                found[sample.title] = None
    return tuple(title for title in found if title)


def _scored(sample: Sample, settings: TaskConfig) -> str:
    return answer_of(cast(DesignSample, sample), cast(DesignConfig, settings)) or ""


TEXTS = TextEvaluation(
    answer_field="title",
    question=asked,
    tables={
        "titles against the product that followed": ("bleu_2_kobe", "bleu_3_kobe"),
        "perplexity of the product that followed": ("ppl_token", "ppl_word", "ppl_byte"),
        "variety": ("dist_2", "dist_3", "dist_4"),
        "titles that exist already": ("copies", "novelty"),
    },
    baselines={name: titles(baseline) for name, baseline in BASELINES.items()},
    context=lambda run: TextInput(catalogue=catalogue(run)),
    scored=_scored,
)


@dataclass(frozen=True, slots=True)
class DesignEvaluation:
    """`m6rec_core.types.Evaluation` of the task: `TextEvaluation` on the titles, then the categories."""

    texts: TextEvaluation = field(default=TEXTS)

    def valid(self, run: RunView) -> Mapping[str, float]:
        """See `TextEvaluation.valid`."""
        return self.texts.valid(run)

    def test(self, run: RunView) -> Report:
        """See `TextEvaluation.test`; the accuracy of the category is added where it was to be written."""
        said: dict[str, list[str]] = {}
        listened = replace(
            run,
            answer=_listening(run.answer, MODEL, said),
            untuned=None if run.untuned is None else _listening(run.untuned, UNTUNED, said),
        )
        report = self.texts.test(listened)
        config, samples = cast(DesignConfig, run.settings), [cast(DesignSample, one) for one in run.parts["test"]]
        if not run.main or config.category_given or not any(one.category for one in samples):
            return report
        for name in report.metrics["systems"]:
            pairs = BASELINES[name](run, samples) if name in BASELINES else None
            if pairs is not None:
                said[name] = [category for category, _ in pairs]
        return _with_categories(report, [one.category for one in samples], said, run.evaluation.bootstrap)


def _listening(answer: Answer, name: str, said: dict[str, list[str]]) -> Answer:
    """The same answers, whose first categories are written down."""

    def listened(samples: Sequence[Sample], title: str) -> Sequence[Prediction]:
        found = answer(samples, title)
        said[name] = [(cast(DesignPrediction, one).categories or ("",))[0] for one in found]
        return found

    return listened


def _with_categories(report: Report, truth: Sequence[str], said: Mapping[str, Sequence[str]], resamples: int) -> Report:
    found: dict[str, Interval] = {}
    for name, categories in said.items():
        right = [normalised(a) == normalised(b) and a != "" for a, b in zip(categories, truth, strict=True)]
        found[name] = interval(row_mean(np.array(right, dtype=np.float64)), Bootstrap(resamples=resamples))
    rows = tuple((name, interval_cell(one)) for name, one in found.items())
    table = ReportTable("category (95 % intervals in brackets)", ("model", "accuracy"), rows)
    numbers: dict[str, Any] = {name: interval_json(one) for name, one in found.items()}
    metrics = {**report.metrics, "category_accuracy": numbers}
    predictions = [
        {
            **row,
            "categories": {name: words[place] for name, words in said.items()},
            "category": truth[place],
        }
        for place, row in enumerate(report.predictions)
    ]
    return replace(report, tables=(table, *report.tables), metrics=metrics, predictions=predictions)
