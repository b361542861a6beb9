"""The report of a TextEvaluation, from answers that are made up."""

import math
from dataclasses import replace

import pytest

from m6rec_core.config import EvaluationConfig
from m6rec_core.errors import ConfigError, DataError, RegistryError
from m6rec_core.generation import AnswerLikelihood, TextEvaluation, TextPrediction, WritingConfig
from m6rec_core.generation.tables import number
from m6rec_core.metrics.text import TextInput
from m6rec_core.types import RunView, Sample


class Asked(Sample):
    words: str | None = None


def evaluation(**changes):
    settings = {
        "answer_field": "words",
        "question": lambda sample: f"what is {sample.id}?",
        "tables": {"texts": ("bleu_1_peter", "dist_2"), "perplexity": ("ppl_token", "ppl_word")},
        "baselines": {"same": lambda run, samples: ["red boots"] * len(samples), "none": lambda run, samples: None},
    }
    return TextEvaluation(**{**settings, **changes})


SAMPLES = tuple(Asked(id=f"s{n}", words="red winter boots") for n in range(4))


def view(texts, mean, **changes):
    def answers(samples, title):
        return [
            TextPrediction(
                id=sample.id,
                texts=(text,) if text else (),
                log_likelihoods=(-1.0,) if text else (),
                answer=AnswerLikelihood(log_likelihood=-4 * mean, tokens=4),
            )
            for sample, text in zip(samples, texts, strict=True)
        ]

    made = RunView(
        parts={"train": (), "valid": SAMPLES[:2], "test": SAMPLES}, settings=WritingConfig(),
        evaluation=EvaluationConfig(bootstrap=10), logs=None, answer=answers, losses=lambda samples, title: [2.0, 4.0],
        seed=0, main=True, say=print, output=None,
    )  # fmt: skip
    return replace(made, **changes)


TEXTS = ["red winter boots", "red winter boots", "red hat", ""]


def test_valid_is_higher_for_better_models():
    found = evaluation().valid(view(TEXTS, 1.0))
    assert next(iter(found.items())) == ("log_likelihood", -3.0)
    assert found["ppl"] == pytest.approx(math.exp(3.0))


def test_report():
    run = view(TEXTS, 1.0)
    worse = view(["x"] * 4, 2.0).answer
    report = evaluation().test(replace(run, untuned=worse))
    systems = report.metrics["systems"]
    assert list(systems) == ["m6rec", "untuned backbone", "same"]
    assert systems["m6rec"]["ppl_token"]["value"] == pytest.approx(math.e)
    assert systems["m6rec"]["ppl_word"]["value"] == pytest.approx(math.exp(4 / 3))
    assert systems["untuned backbone"]["ppl_token"]["value"] == pytest.approx(math.exp(2))
    assert set(systems["same"]) == {"bleu_1_peter", "dist_2"}
    assert report.metrics["difference"]["untuned backbone"]["ppl_token"]["value"] == pytest.approx(math.e - math.exp(2))
    assert report.metrics["empty"] == 1
    assert [table.title.split(" (")[0] for table in report.tables] == [
        "texts", "perplexity", "paired differences on the same rows", "the first test rows",
    ]  # fmt: skip
    assert report.tables[0].rows[0][0] == "m6rec"
    assert [row[0] for row in report.tables[1].rows] == ["m6rec", "untuned backbone"]
    assert ("asked", "what is s0?") in report.tables[3].rows
    facts = dict(report.facts)
    assert "none" in facts["left out"]
    assert "rows:4" in facts["metrics"]
    assert facts["empty"].startswith("1 of 4")
    rows = report.predictions
    assert [row["m6rec"] for row in rows] == TEXTS
    assert all(len(row["m6rec"]) == 0 or row["texts"] == [row["m6rec"]] for row in rows)


def test_context_reaches_the_metrics_and_baselines_can_be_chosen():
    one = evaluation(
        tables={"new": ("copies", "novelty")}, context=lambda run: TextInput(catalogue=["Red winter boots"])
    )
    run = view(TEXTS, 1.0, evaluation=EvaluationConfig(bootstrap=10, baselines=()))
    report = one.test(run)
    assert list(report.metrics["systems"]) == ["m6rec"]
    assert report.metrics["systems"]["m6rec"]["copies"]["value"] == 0.5
    assert report.metrics["systems"]["m6rec"]["novelty"]["value"] == 0.25


def test_only_the_main_process_reports():
    assert evaluation().test(view(TEXTS, 1.0, main=False)).tables == ()


def test_what_is_refused():
    with pytest.raises(ConfigError, match="not known"):
        evaluation(tables={"x": ("bleu_9",)})
    nothing = (Asked(id="a"), *SAMPLES[1:])
    with pytest.raises(DataError, match="sample a, field 'words': it is empty"):
        evaluation().test(view(TEXTS, 1.0, parts={"train": (), "valid": (), "test": nothing}))
    with pytest.raises(RegistryError, match="WritingConfig"):
        evaluation().test(view(TEXTS, 1.0, settings=object()))


@pytest.mark.parametrize(
    ("value", "text"), [(0.1234, ".123"), (-0.5, "-.500"), (3.14159, "3.142"), (41.26, "41.3"), (54321.0, "5.43e+04")]
)
def test_numbers(value, text):
    assert number(value) == text
