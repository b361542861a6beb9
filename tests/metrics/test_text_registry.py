"""The registry of text metrics: needs, signatures, intervals, comparisons, and inputs at the edge."""

from __future__ import annotations

import dataclasses
import math
import re
from pathlib import Path

import numpy as np
import pytest

from m6rec_core.errors import ConfigError, DataError
from m6rec_core.metrics.bootstrap import Bootstrap
from m6rec_core.metrics.text import (
    TEXT_METRICS,
    TOKENIZERS,
    TextInput,
    TextMetric,
    TextScore,
    compare_texts,
    likelihoods_of,
    score_texts,
    text_metric,
)

FEATURES = frozenset({"room", "pool", "bar"})
QUICK = Bootstrap(50)


def planted(rows: int, seed: int = 0, copied: float = 0.5) -> TextInput:
    generator = np.random.default_rng(seed)
    words = np.array(["the", "room", "was", "nice", "pool", "bar", "and", "北京", "é"])
    references = [" ".join(generator.choice(words, 8)) for _ in range(rows)]
    hypotheses = [
        " ".join(word if generator.random() < copied else str(generator.choice(words)) for word in text.split())
        for text in references
    ]
    likelihoods = likelihoods_of(references, -generator.gamma(9.0, 2.0, rows), np.full(rows, 10))
    wanted = [str(generator.choice(["room", "pool", "bar"])) for _ in range(rows)]
    return TextInput(hypotheses, references, wanted, None, FEATURES, references[:3], likelihoods)


def test_what_the_tasks_report_is_there() -> None:
    expected = {
        *("bleu", "bleu_1_peter", "bleu_4_peter", "bleu_2_kobe", "bleu_3_kobe", "bleu_2_kgsf", "bleu_3_kgsf"),
        *("bleu_2_cumulative", "bleu_3_cumulative", "dist_2", "dist_3", "dist_4", "dist_3_kbrd", "dist_4_kbrd"),
        *(f"rouge_{kind}_{part}" for kind in "12l" for part in "prf"),
        *("ppl_token", "ppl_word", "ppl_byte", "fmr", "fcr", "div", "usr", "novelty", "copies"),
    }
    assert expected <= set(TEXT_METRICS)
    lower = {name for name, metric in TEXT_METRICS.items() if not metric.higher_is_better}
    assert lower == {"ppl_token", "ppl_word", "ppl_byte", "div", "copies"}


def test_no_two_metrics_have_one_signature() -> None:
    scores = score_texts(TEXT_METRICS, planted(5), plan=None)
    assert len({score.signature for score in scores.values()}) == len(TEXT_METRICS)
    assert all(score.signature.endswith("|rows:5") and score.rows == 5 for score in scores.values())
    assert all(score.interval is None for score in scores.values())


@pytest.mark.parametrize("name", TEXT_METRICS)
def test_every_metric_has_an_interval_around_its_value(name: str) -> None:
    score = score_texts([name], planted(100), plan=QUICK)[name]
    assert score.interval is not None
    assert score.interval.value == score.value
    assert score.interval.low <= score.value <= score.interval.high
    assert score.interval.resamples > 0


@pytest.mark.parametrize("name", TEXT_METRICS)
def test_a_system_against_itself_is_zero(name: str) -> None:
    data = planted(40)
    found = compare_texts([name], data, data, plan=QUICK)[name]
    assert (found.value, found.low, found.high) == (0.0, 0.0, 0.0)
    assert not found.excludes_zero


def test_the_better_system_wins() -> None:
    good, bad = planted(300, copied=0.9), planted(300, copied=0.1)
    bad = dataclasses.replace(bad, references=good.references)
    names = ["bleu", "bleu_2_kgsf", "rouge_l_f", "bleu_4_peter"]
    assert all(found.low > 0 for found in compare_texts(names, good, bad, plan=QUICK).values())


def test_a_paired_interval_is_narrower_than_one_alone() -> None:
    data = planted(200)
    assert data.hypotheses is not None
    other = dataclasses.replace(data, hypotheses=[data.hypotheses[0] + " nice", *data.hypotheses[1:]])
    paired = compare_texts(["rouge_1_f"], data, other, plan=QUICK)["rouge_1_f"]
    alone = score_texts(["rouge_1_f"], data, plan=QUICK)["rouge_1_f"].interval
    assert alone is not None
    assert paired.high - paired.low < 0.2 * (alone.high - alone.low)


def test_intervals_are_seeded() -> None:
    first, second = (score_texts(["bleu"], planted(50), plan=Bootstrap(50, seed=3))["bleu"] for _ in range(2))
    assert first == second
    assert first != score_texts(["bleu"], planted(50), plan=Bootstrap(50, seed=4))["bleu"]


@pytest.mark.parametrize("name", TEXT_METRICS)
@pytest.mark.parametrize(("hypothesis", "reference"), [("", ""), ("", "a b"), ("a b", ""), ("😀\u200d", "Ω ﷽ 北京")])
def test_one_row_of_anything_is_a_number_or_not_defined(name: str, hypothesis: str, reference: str) -> None:
    likelihoods = likelihoods_of([reference], [-1.0], [1])
    data = TextInput([hypothesis], [reference], ["room"], None, FEATURES, ["x"], likelihoods)
    score = score_texts([name], data, plan=QUICK)[name]
    assert isinstance(score, TextScore)
    assert math.isnan(score.value) or score.value >= 0.0
    assert score.rows == 1


@pytest.mark.parametrize("name", TEXT_METRICS)
def test_no_rows_are_not_defined(name: str) -> None:
    data = TextInput([], [], [], None, FEATURES, [], likelihoods_of([], [], []))
    score = score_texts([name], data, plan=QUICK)[name]
    assert math.isnan(score.value) or name == "fcr"  # no text names a feature: none of F is covered
    assert score.rows == 0


@pytest.mark.parametrize("name", [n for n, m in TEXT_METRICS.items() if n not in {"div", "usr"} and "dist" not in n])
def test_duplicated_rows_change_no_mean(name: str) -> None:
    data = planted(20)
    assert data.hypotheses is not None
    assert data.references is not None
    assert data.wanted is not None
    assert data.likelihoods is not None
    twice = TextInput(
        [*data.hypotheses] * 2,
        [*data.references] * 2,
        [*data.wanted] * 2,
        None,
        FEATURES,
        data.catalogue,
        likelihoods_of([*data.references] * 2, np.tile(data.likelihoods.log_likelihood, 2), np.full(40, 10)),
    )
    one, two = (score_texts([name], rows, plan=None)[name].value for rows in (data, twice))
    assert two == pytest.approx(one)


@pytest.mark.parametrize(("name", "factor"), [("dist_2", 0.5), ("dist_3_kbrd", 0.5), ("usr", 0.5)])
def test_duplicated_rows_halve_what_counts_distinct_things(name: str, factor: float) -> None:
    texts = ["a b c", "d e f g"]
    one, two = (score_texts([name], TextInput(rows), plan=None)[name].value for rows in (texts, texts * 2))
    assert two == pytest.approx(factor * one)


def test_a_tokenisation_is_chosen_and_said() -> None:
    data = TextInput(["北京烤鸭"], ["北京烧鸭"])
    zh = score_texts(["rouge_1_f", "bleu_2_kobe"], data, tokenizer="zh", plan=None)
    assert zh["rouge_1_f"].value == pytest.approx(3 / 4)
    assert "|tok:zh|sacrebleu:" in zh["bleu_2_kobe"].signature
    assert "|tok:rouge|" in score_texts(["rouge_1_f"], data, plan=None)["rouge_1_f"].signature
    assert "tok:" not in score_texts(["ppl_token"], planted(3), tokenizer="zh", plan=None)["ppl_token"].signature


@pytest.mark.parametrize("tokenizer", TOKENIZERS)
def test_every_metric_takes_every_tokenisation(tokenizer: str) -> None:
    scores = score_texts(TEXT_METRICS, planted(4), tokenizer=tokenizer, plan=None)
    assert all(f"|tok:{tokenizer}|" in s.signature for name, s in scores.items() if TEXT_METRICS[name].tokenizer)


def test_the_metrics_page_names_every_metric_and_its_example_is_right() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "metrics.md").read_text()
    stems = {re.sub(r"_[prf](_peter)?$", "", name) if "rouge" in name else name for name in TEXT_METRICS}
    assert {stem for stem in stems if stem not in page} == set()
    data = TextInput(hypotheses=["the room was nice"], references=["the room was clean"])
    score = score_texts(["bleu_1_peter", "rouge_1_f"], data)["bleu_1_peter"]
    assert score.value == pytest.approx(75.0)
    assert score.signature in page


def test_given_mentions_are_used() -> None:
    data = TextInput(["?", "?"], wanted=["room", "pool"], mentions=[frozenset({"room"}), frozenset()])
    assert score_texts(["fmr"], data, plan=None)["fmr"].value == 0.5


def test_metrics_know_what_they_need() -> None:
    data = TextInput(["a"])
    assert text_metric("usr").possible(data)
    assert not text_metric("bleu").possible(data)
    with pytest.raises(DataError, match="text metric bleu: references not given"):
        score_texts(["bleu"], data)
    with pytest.raises(ConfigError, match="unknown needs"):
        TextMetric("x", ("reference",), True, "x", None, text_metric("usr").measure)


def test_wrong_names_and_rows_are_errors() -> None:
    with pytest.raises(ConfigError, match="'blue' is not known; choose from bleu"):
        score_texts(["blue"], TextInput(["a"]))
    with pytest.raises(ConfigError, match="'14a' is not known"):
        score_texts(["usr"], TextInput(["a"]), tokenizer="14a")
    with pytest.raises(DataError, match="1 hypotheses, 2 references"):
        TextInput(["a"], ["a", "b"])
    with pytest.raises(DataError, match="the references differ"):
        compare_texts(["bleu"], TextInput(["a"], ["a"]), TextInput(["a"], ["b"]))
    with pytest.raises(DataError, match="1 rows against 2"):
        compare_texts(["usr"], TextInput(["a"]), TextInput(["a", "b"]))


def test_the_registry_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        TEXT_METRICS["x"] = text_metric("bleu")  # type: ignore[index]
