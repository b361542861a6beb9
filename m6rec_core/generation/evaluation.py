"""How a run of a task that writes chooses its best step and reports: perplexity, text metrics, baselines, examples."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import exp
from typing import Any, cast

from m6rec_core.config import TaskConfig
from m6rec_core.errors import DataError, RegistryError
from m6rec_core.generation.answers import TextPrediction
from m6rec_core.generation.settings import WritingConfig
from m6rec_core.generation.tables import as_json, difference_table, example_table, score_table
from m6rec_core.metrics.bootstrap import Bootstrap, Interval
from m6rec_core.metrics.text import (
    Likelihoods,
    TextInput,
    TextScore,
    compare_texts,
    likelihoods_of,
    score_texts,
    text_metric,
)
from m6rec_core.types import Prediction, Report, RunView, Sample

MODEL = "m6rec"
UNTUNED = "untuned backbone"

TextBaseline = Callable[[RunView, Sequence[Sample]], Sequence[str] | None]
"""A text for each sample, learnt from `run.parts["train"]`; None where it cannot be had (without training rows)."""


@dataclass(frozen=True, slots=True)
class System:
    """A model or baseline on the test rows: one text per row, and its likelihood of the references where it has one."""

    name: str
    texts: tuple[str, ...]
    likelihoods: Likelihoods | None = None


def _nothing(run: RunView) -> TextInput:
    del run
    return TextInput()


@dataclass(frozen=True, slots=True, kw_only=True)
class TextEvaluation:
    """`m6rec_core.types.Evaluation` of tasks whose settings are a `WritingConfig` and predictions a `TextPrediction`.

    `answer_field`: field of the sample with the reference. `question`: what stands beside it in tables. `tables`: title
    -> names of `TEXT_METRICS`, the first of all is the one that differences are told of. `baselines`: by name.
    `context`: what metrics need besides texts (wanted features, the catalogue), from the run. `scored`: the whole text
    that a sample's row scores, from its settings, where that is more than the reference; perplexity counts its words.
    """

    answer_field: str
    question: Callable[[Sample], str]
    tables: Mapping[str, tuple[str, ...]]
    baselines: Mapping[str, TextBaseline]
    context: Callable[[RunView], TextInput] = field(default=_nothing)
    scored: Callable[[Sample, TaskConfig], str] | None = None

    def __post_init__(self) -> None:
        """Refuse names of metrics that do not exist (ConfigError)."""
        for name in self.metrics:
            text_metric(name)

    @property
    def metrics(self) -> tuple[str, ...]:
        """The names of all tables, in their order."""
        return tuple(dict.fromkeys(name for names in self.tables.values() for name in names))

    def valid(self, run: RunView) -> Mapping[str, float]:
        """Mean over samples of log p per token of the answer, which training raises; and exp(-that) as `ppl`."""
        losses = run.losses(run.parts["valid"], "scoring valid rows")
        mean = sum(losses) / len(losses) if losses else float("nan")
        return {"log_likelihood": -mean, "ppl": exp(min(mean, 700.0))}

    def test(self, run: RunView) -> Report:
        """Write for the test samples, with the tuned task, the bare backbone and every baseline, and compare."""
        samples = run.parts["test"]
        references = [self._reference(sample) for sample in samples]
        settings = _settings(run)
        answers = _texts(run.answer(samples, "writing for test rows"))
        untuned = _texts(run.untuned(samples, "writing with the untuned backbone")) if run.untuned else None
        if not run.main:
            return Report((), (), {})
        scored = references if self.scored is None else [self.scored(sample, settings) for sample in samples]
        systems = [_system(MODEL, answers, scored, settings.metric_tokens)]
        if untuned is not None:
            systems.append(_system(UNTUNED, untuned, scored, settings.metric_tokens))
        others, left_out = self._baselines(run)
        return self._report(run, references, [*systems, *others], answers, left_out)

    def _reference(self, sample: Sample) -> str:
        reference = getattr(sample, self.answer_field)
        if not reference:
            raise DataError(
                f"sample {sample.id}, field {self.answer_field!r}: it is empty; a report compares with it, so give "
                "every test sample one (m6rec predict needs none)"
            )
        return str(reference)

    def _baselines(self, run: RunView) -> tuple[list[System], list[str]]:
        asked = run.evaluation.baselines
        found: list[System] = []
        left_out: list[str] = []
        for name, baseline in self.baselines.items():
            if asked is not None and name not in asked:
                continue
            texts = baseline(run, run.parts["test"])
            if texts is None:
                left_out.append(name)
            else:
                found.append(System(name, tuple(texts)))
        return found, left_out

    def _report(
        self,
        run: RunView,
        references: Sequence[str],
        systems: Sequence[System],
        answers: Sequence[TextPrediction],
        left_out: Sequence[str],
    ) -> Report:
        samples, tokens, context = run.parts["test"], _settings(run).metric_tokens, self.context(run)
        plan = Bootstrap(resamples=run.evaluation.bootstrap)
        inputs = {
            one.name: replace(context, hypotheses=one.texts, references=references, likelihoods=one.likelihoods)
            for one in systems
        }
        scores = {name: score_texts(self._possible(data), data, tokens, plan) for name, data in inputs.items()}
        leads = self._leads(inputs, tokens, plan)
        tables = [score_table(title, names, scores) for title, names in self.tables.items()]
        if leads:
            tables.append(difference_table(MODEL, self.metrics, leads))
        questions = [self.question(sample) for sample in samples]
        tables.append(example_table(questions, references, {one.name: one.texts for one in systems}))
        facts = [("metrics", "; ".join(score.signature for score in scores[MODEL].values()))]
        if left_out:
            names = ", ".join(left_out)
            facts.append(("left out", f"{names}: there are no training rows, or no history, to take them from"))
        empty = sum(not one.texts for one in answers)
        if empty:
            facts.append(("empty", f"{empty:,} of {len(answers):,} test rows got no text"))
        return Report(
            tuple(tables),
            tuple(facts),
            _numbers(scores, leads, len(samples), empty),
            [
                {
                    "id": sample.id,
                    "question": question,
                    "reference": reference,
                    "texts": list(answer.texts),
                    "log_likelihoods": list(answer.log_likelihoods),
                    **{one.name: one.texts[row] for one in systems},
                }
                for row, (sample, question, reference, answer) in enumerate(
                    zip(samples, questions, references, answers, strict=True)
                )
            ],
        )

    def _possible(self, data: TextInput) -> list[str]:
        return [name for name in self.metrics if text_metric(name).possible(data)]

    def _leads(
        self, inputs: Mapping[str, TextInput], tokens: str | None, plan: Bootstrap
    ) -> dict[str, dict[str, Interval]]:
        """Paired differences, the model minus each other system."""
        return {
            name: compare_texts(self._possible(data), inputs[MODEL], data, tokens, plan)
            for name, data in inputs.items()
            if name != MODEL
        }


def _numbers(
    scores: Mapping[str, Mapping[str, TextScore]], leads: Mapping[str, Mapping[str, Interval]], rows: int, empty: int
) -> dict[str, Any]:
    return {
        "rows": rows,
        "empty": empty,
        "systems": {name: {metric: as_json(score) for metric, score in line.items()} for name, line in scores.items()},
        "difference": {
            name: {metric: {"value": i.value, "low": i.low, "high": i.high} for metric, i in line.items()}
            for name, line in leads.items()
        },
    }


def _settings(run: RunView) -> WritingConfig:
    if not isinstance(run.settings, WritingConfig):
        raise RegistryError(f"a TextEvaluation needs settings that are a WritingConfig, not {type(run.settings)}")
    return run.settings


def _texts(answers: Sequence[Prediction]) -> list[TextPrediction]:
    if not all(isinstance(answer, TextPrediction) for answer in answers):
        raise RegistryError("a TextEvaluation needs predictions that are a TextPrediction")
    return [cast(TextPrediction, answer) for answer in answers]


def _system(name: str, answers: Sequence[TextPrediction], scored: Sequence[str], tokens: str | None) -> System:
    said = [answer.answer for answer in answers if answer.answer is not None]
    likelihoods = None
    if len(said) == len(answers):
        likelihoods = likelihoods_of(
            scored, [one.log_likelihood for one in said], [one.tokens for one in said], tokens or "blanks"
        )
    return System(name, tuple(answer.texts[0] if answer.texts else "" for answer in answers), likelihoods)
