"""How a run reports: the metrics of PETER (Li et al. 2021) and of paper Table 1, and what was cut."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import cast

from m6rec_core.generation import TextEvaluation
from m6rec_core.metrics.text import TextInput
from m6rec_core.text.template import clean
from m6rec_core.types import Report, RunView, Sample
from m6rec_plugin_explanation.rivals import asked, frequent_sentence, nearest_review
from m6rec_plugin_explanation.sample import ExplanationSample
from m6rec_plugin_explanation.serialize import cut, details_of
from m6rec_plugin_explanation.settings import ExplanationConfig

ROUGE = tuple(f"rouge_{n}_{part}_peter" for n in (1, 2) for part in "prf")


def feature_context(run: RunView) -> TextInput:
    """What the feature metrics need: the wanted feature of each test row, and F, all features of the run's rows."""
    every = {name for part in run.parts.values() for sample in part if (name := _feature(sample))}
    return TextInput(wanted=[_feature(sample) for sample in run.parts["test"]], feature_set=frozenset(every))


TEXTS = TextEvaluation(
    answer_field="explanation",
    question=asked,
    tables={
        "against the user's sentence": ("bleu_1_peter", "bleu_4_peter"),
        "against the user's sentence, ROUGE": ROUGE,
        "features": ("fmr", "fcr", "div", "usr"),
        "perplexity of the user's sentence": ("ppl_token", "ppl_word", "ppl_byte"),
    },
    baselines={"frequent sentence": frequent_sentence, "nearest review": nearest_review},
    context=feature_context,
)


@dataclass(frozen=True, slots=True)
class ExplanationEvaluation:
    """`m6rec_core.generation.TextEvaluation` with counts of the features and of the details that were cut."""

    texts: TextEvaluation = TEXTS

    def valid(self, run: RunView) -> Mapping[str, float]:
        """See `TextEvaluation.valid`."""
        return self.texts.valid(run)

    def test(self, run: RunView) -> Report:
        """See `TextEvaluation.test`."""
        report = self.texts.test(run)
        if not run.main:
            return report
        context = feature_context(run)
        wanted = sum(name is not None for name in context.wanted or ())
        facts = [("features", f"F has {len(context.feature_set or ()):,}; {wanted:,} test rows want one")]
        longer = cut_details([sample for part in run.parts.values() for sample in part], run)
        limit = cast(ExplanationConfig, run.settings).details_bytes
        if longer:
            facts.append(("details", f"{longer:,} rows had more than settings.details_bytes={limit} and were cut"))
        numbers = {**report.metrics, "features": len(context.feature_set or ()), "details_cut": longer}
        return replace(report, facts=(*report.facts, *facts), metrics=numbers)


def cut_details(samples: Sequence[Sample], run: RunView) -> int:
    """Return how many samples have details that are written in part only."""
    limit = cast(ExplanationConfig, run.settings).details_bytes
    details = [details_of(cast(ExplanationSample, sample)) for sample in samples]
    return sum(cut(text, limit) != text for text in details)


def _feature(sample: Sample) -> str | None:
    return clean(cast(ExplanationSample, sample).feature or "").lower() or None
