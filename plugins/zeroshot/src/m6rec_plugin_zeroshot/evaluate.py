"""The report of a run: measures with intervals beside the rivals, and every prompt form under every normalisation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch

from m6rec_core.errors import DataError
from m6rec_core.heads.likelihood import Normalisation, TextLikelihood, normalised
from m6rec_core.metrics import Interval
from m6rec_core.types import Prediction, Report, ReportTable, RunView, Sample
from m6rec_plugin_zeroshot.head import combined
from m6rec_plugin_zeroshot.measures import NAMES, POOLED, Scored, as_json, differences, intervals, measure, scored
from m6rec_plugin_zeroshot.rivals import RIVALS, rivals
from m6rec_plugin_zeroshot.sample import ChoicePrediction, ChoiceSample
from m6rec_plugin_zeroshot.settings import ZeroshotConfig

MODEL = "m6rec"
AVERAGE = "all, averaged"
RULES: tuple[Normalisation, ...] = ("sum", "token", "byte", "prior")


@dataclass(frozen=True, slots=True)
class ChoiceEvaluation:
    """`m6rec_core.types.Evaluation` of the task."""

    def valid(self, run: RunView) -> Mapping[str, float]:
        """AUC first under "clicked-random", precision@1 first under "sileo"."""
        samples = _choices(run.parts["valid"])
        found = measure(scored(_scores(run.answer(run.parts["valid"], "scoring valid rows")), right(samples)))
        return {name: found[name] for name in ordered(_settings(run))}

    def test(self, run: RunView) -> Report:
        """Answer the test samples, and compare."""
        samples = _choices(run.parts["test"])
        answers = _predictions(run.answer(run.parts["test"], "scoring test rows"))
        config = _settings(run)
        valid: tuple[Sequence[ChoiceSample], Sequence[ChoicePrediction]] | None = None
        if config.compare_on_valid and run.parts["valid"]:
            valid_answers = run.answer(run.parts["valid"], "scoring valid rows")
            valid = _choices(run.parts["valid"]), _predictions(valid_answers)
        return report(samples, answers, config, run, valid)


def report(
    samples: Sequence[ChoiceSample],
    answers: Sequence[ChoicePrediction],
    config: ZeroshotConfig,
    run: RunView,
    valid: tuple[Sequence[ChoiceSample], Sequence[ChoicePrediction]] | None = None,
) -> Report:
    """Make the tables from the answers; `valid` adds columns of the valid part to the table of forms."""
    names, resamples, truth = ordered(config), run.evaluation.bootstrap, right(samples)
    models = {MODEL: scored([np.array(answer.scores) for answer in answers], truth)}
    models |= {name: scored(scores, truth) for name, scores in rivals(samples, run.evaluation.baselines).items()}
    found = {name: intervals(model, resamples) for name, model in models.items()}
    rows = tuple((name, *(show(line[measure_name]) for measure_name in names)) for name, line in found.items())
    main = ReportTable(f"{len(samples):,} test samples, {config.protocol}", ("model", *names), rows)
    forms = form_table(samples, answers, config, valid)
    facts, against = _against(models, found, names[0], resamples)
    missing = [name for name in RIVALS if name not in models and run.evaluation.baselines is None]
    if missing:
        facts.append(("left out", f"{', '.join(missing)}: the samples do not say how popular their choices are"))
    metrics: dict[str, Any] = {
        "models": {name: as_json(line) for name, line in found.items()},
        "difference": against,
        "forms": [dict(zip(forms.columns, row, strict=True)) for row in forms.rows],
        "samples": len(samples),
    }
    return Report((main, forms), tuple(facts), metrics, list(_lines(samples, answers, models)))


def ordered(config: ZeroshotConfig) -> tuple[str, ...]:
    """The measures, the one that decides first."""
    first = "precision@1" if config.protocol == "sileo" else POOLED
    return (first, *(name for name in NAMES if name != first))


def form_table(
    samples: Sequence[ChoiceSample],
    answers: Sequence[ChoicePrediction],
    config: ZeroshotConfig,
    valid: tuple[Sequence[ChoiceSample], Sequence[ChoicePrediction]] | None,
) -> ReportTable:
    """Every prompt form of the run under every normalisation that its rows allow, and their average."""
    names = ordered(config)
    columns = ["form", "normalisation", *names]
    parts = [(samples, answers)]
    if valid is not None:
        columns += [f"valid {name}" for name in names]
        parts.append(valid)
    tables = [_by_form(*part, config) for part in parts]
    rows = tuple(
        (form, rule, *(number(table[form, rule][name]) for table in tables for name in names))
        for form, rule in tables[0]
    )
    return ReportTable("forms and normalisations on the same rows", tuple(columns), rows)


def _by_form(
    samples: Sequence[ChoiceSample], answers: Sequence[ChoicePrediction], config: ZeroshotConfig
) -> dict[tuple[str, str], dict[str, float]]:
    truth = right(samples)
    forms = [line.prompt for line in answers[0].likelihoods]
    if any([line.prompt for line in answer.likelihoods] != forms for answer in answers):
        return {}  # texts and titles mixed as contexts: there is no form that all samples have
    rules = [rule for rule in RULES if rule != "prior" or all(answer.prior_sums for answer in answers)]
    found = {}
    for rule in rules:
        scores = [rescored(answer, rule) for answer in answers]
        for place, form in enumerate(forms):
            found[form, rule] = measure(scored([score[place].numpy() for score in scores], truth))
        if len(forms) > 1:
            averaged = [combined(score, config.average).numpy() for score in scores]
            found[AVERAGE, rule] = measure(scored(averaged, truth))
    return dict(sorted(found.items(), key=lambda item: [*forms, AVERAGE].index(item[0][0])))


def rescored(answer: ChoicePrediction, rule: Normalisation) -> torch.Tensor:
    """The scores [F, C] of an answer under another normalisation, from the likelihoods it holds."""
    sums = torch.tensor([line.sums for line in answer.likelihoods], dtype=torch.float64)
    tokens, lengths = (torch.tensor(v, dtype=torch.float64).expand_as(sums) for v in (answer.tokens, answer.lengths))
    prior = torch.tensor(answer.prior_sums, dtype=torch.float64) if answer.prior_sums else None
    return normalised(TextLikelihood(sums, tokens, lengths), rule, prior)


def right(samples: Sequence[ChoiceSample]) -> list[np.typing.NDArray[np.float64]]:
    """Whether each choice is right, [C] per sample. Raises DataError for a sample without a label."""
    found = []
    for sample in samples:
        if sample.label is None:
            raise DataError(f"sample {sample.id}, field 'label': there is none; a report needs one in every sample")
        line = np.zeros(len(sample.choices))
        line[list(sample.label)] = 1.0
        found.append(line)
    return found


def _against(
    models: Mapping[str, Scored], found: Mapping[str, Mapping[str, Interval]], first: str, resamples: int
) -> tuple[list[tuple[str, str]], dict[str, Any]]:
    """How far the model is above the best rival, on the same rows."""
    others = [name for name in models if name != MODEL]
    if not others:
        return [], {}
    best = max(others, key=lambda name: found[name][first].value)
    gap = differences(models[MODEL], models[best], resamples)
    verdict = "outside" if gap[first].excludes_zero else "inside"
    fact = f"{first} {gap[first].value:+.3f} [{gap[first].low:+.3f}, {gap[first].high:+.3f}], {verdict} the noise"
    return [(f"against {best}", fact)], {"rival": best, **as_json(gap)}


def _lines(
    samples: Sequence[ChoiceSample], answers: Sequence[ChoicePrediction], models: Mapping[str, Scored]
) -> Iterator[dict[str, Any]]:
    for place, (sample, answer) in enumerate(zip(samples, answers, strict=True)):
        for number, choice in enumerate(sample.choices):
            yield {
                "id": sample.id,
                "choice": choice.id,
                "label": bool(models[MODEL].right[place][number]),
                "score": answer.scores[number],
                **{name: float(model.scores[place][number]) for name, model in models.items() if name != MODEL},
            }


def show(interval: Interval) -> str:
    """A measure with its interval, for people."""
    return f"{interval.value:.3f} [{interval.low:.3f}, {interval.high:.3f}]"


def number(value: float) -> str:
    """A measure without an interval."""
    return f"{value:.3f}"


def _settings(run: RunView) -> ZeroshotConfig:
    return cast(ZeroshotConfig, run.settings)


def _choices(samples: Sequence[Sample]) -> list[ChoiceSample]:
    return [cast(ChoiceSample, sample) for sample in samples]


def _predictions(answers: Sequence[Prediction]) -> list[ChoicePrediction]:
    return [cast(ChoicePrediction, answer) for answer in answers]


def _scores(answers: Sequence[Prediction]) -> list[np.typing.NDArray[np.float64]]:
    return [np.array(answer.scores) for answer in _predictions(answers)]
