"""Dist-n, USR, perplexity, FMR, FCR, DIV and novelty against their definitions."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from m6rec_core.errors import DataError
from m6rec_core.metrics.evidence import LeaveOneOut
from m6rec_core.metrics.text.distinct import distinct_ngrams, unique_sentences
from m6rec_core.metrics.text.features import (
    feature_coverage,
    feature_diversity,
    feature_matching,
    mentioned_features,
)
from m6rec_core.metrics.text.novelty import copies, normalised, novelty
from m6rec_core.metrics.text.perplexity import Likelihoods, likelihoods_of, perplexity

TEXTS = st.lists(st.lists(st.sampled_from("abc"), max_size=6).map(" ".join), min_size=1, max_size=9)
MENTIONS = st.lists(st.frozensets(st.sampled_from("stuvwxyz")), min_size=1, max_size=12)


def brute_distinct(texts: list[str], n: int, per_row: bool) -> float:
    grams = [tuple(t.split()[i : i + n]) for t in texts for i in range(len(t.split()) - n + 1)]
    below = len(texts) if per_row else len(grams)
    return len(set(grams)) / below if below else math.nan


def brute_diversity(mentions: list[frozenset[str]]) -> float:
    pairs = [len(a & b) for a, b in combinations(mentions, 2)]
    return float(np.mean(pairs)) if pairs else math.nan


def assert_leaves_out(found: LeaveOneOut, without: list[float]) -> None:
    assert found.without == pytest.approx(without, nan_ok=True)


@pytest.mark.parametrize("per_row", [False, True])
@pytest.mark.parametrize("n", [1, 2, 3, 4])
@given(texts=TEXTS)
def test_distinct_equals_its_definition(n: int, per_row: bool, texts: list[str]) -> None:
    found = distinct_ngrams(texts, n, per_row)
    assert found.value == pytest.approx(brute_distinct(texts, n, per_row), nan_ok=True)
    assert_leaves_out(found, [brute_distinct(texts[:i] + texts[i + 1 :], n, per_row) for i in range(len(texts))])


def test_the_two_definitions_of_distinct_differ() -> None:
    texts = ["a b c", "a b d"]
    assert distinct_ngrams(texts, 2, False).value == pytest.approx(3 / 4)
    assert distinct_ngrams(texts, 2, True).value == pytest.approx(3 / 2)
    assert distinct_ngrams(["", ""], 2, True).value == 0.0
    assert math.isnan(distinct_ngrams(["", "a"], 2, False).value)


@given(texts=TEXTS)
def test_unique_sentences_equal_their_definition(texts: list[str]) -> None:
    found = unique_sentences(texts)
    assert found.value == pytest.approx(len(set(texts)) / len(texts))
    rest = [texts[:i] + texts[i + 1 :] for i in range(len(texts))]
    assert_leaves_out(found, [len(set(t)) / len(t) if t else math.nan for t in rest])


@given(mentions=MENTIONS)
def test_diversity_equals_the_pairwise_definition(mentions: list[frozenset[str]]) -> None:
    found = feature_diversity(mentions)
    assert found.value == pytest.approx(brute_diversity(mentions), nan_ok=True)
    assert_leaves_out(found, [brute_diversity(mentions[:i] + mentions[i + 1 :]) for i in range(len(mentions))])


@given(mentions=MENTIONS)
def test_coverage_equals_its_definition(mentions: list[frozenset[str]]) -> None:
    features = frozenset("stuvwx")
    found = feature_coverage(mentions, features)
    assert found.value == pytest.approx(len(frozenset().union(*mentions) & features) / 6)
    rest = [mentions[:i] + mentions[i + 1 :] for i in range(len(mentions))]
    assert_leaves_out(found, [len(frozenset().union(*m) & features) / 6 for m in rest])


def test_feature_matching_leaves_out_rows_that_want_nothing() -> None:
    mentions = [frozenset({"room"}), frozenset({"pool"}), frozenset()]
    assert feature_matching(mentions, ["room", None, "pool"]).value == 0.5
    assert math.isnan(feature_matching(mentions, [None] * 3).value)
    assert math.isnan(feature_coverage(mentions, frozenset()).value)
    assert math.isnan(feature_diversity(mentions[:1]).value)


def test_features_are_found_as_words_side_by_side() -> None:
    features = ["room", "room service", "Café", "烤鸭", "  "]
    texts = ["The ROOM service, fine.", "mushroom", "service room", "café!", "北京烤鸭店", ""]
    assert mentioned_features(texts, features, "zh") == [
        {"room", "room service"},
        set(),
        {"room"},
        {"Café"},
        {"烤鸭"},
        set(),
    ]


def test_perplexity_of_known_likelihoods() -> None:
    rows = likelihoods_of(["two words", "é"], [-2.0, -4.0], [3, 1])
    assert perplexity(rows, "tokens").value == pytest.approx(math.exp(6 / 4))
    assert perplexity(rows, "words").value == pytest.approx(math.exp(6 / 3))
    assert perplexity(rows, "bytes").value == pytest.approx(math.exp(6 / 11))


def test_a_uniform_model_has_the_vocabulary_as_perplexity() -> None:
    rows = likelihoods_of(["x"] * 3, [-n * math.log(50) for n in (1, 5, 9)], [1, 5, 9])
    assert perplexity(rows, "tokens").value == pytest.approx(50)


def test_perplexity_without_units_or_hope() -> None:
    assert math.isnan(perplexity(likelihoods_of([""], [0.0], [0]), "tokens").value)
    assert perplexity(likelihoods_of(["a"], [-math.inf], [1]), "tokens").value == math.inf


@pytest.mark.parametrize(
    ("log_likelihood", "tokens", "match"),
    [
        ([0.5], [1], "log_likelihood, row 0: 0.5 is impossible"),
        ([-1.0], [-1], "tokens, row 0"),
        ([math.nan], [1], "not a number"),
        ([-1.0, -1.0], [1], "expected 2 values"),
    ],
)
def test_impossible_likelihoods_are_errors(log_likelihood: list[float], tokens: list[float], match: str) -> None:
    size = np.ones(len(log_likelihood))
    with pytest.raises(DataError, match=match):
        Likelihoods(np.array(log_likelihood), np.array(tokens), size, size)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("The  Matrix!", "the matrix"),
        ("Ｍａｔｒｉｘ", "matrix"),
        ("Straße", "STRASSE"),
        ("Spider-Man", "spider man"),
        ("café", "cafe\u0301"),
    ],
)
def test_the_same_title_in_two_spellings(first: str, second: str) -> None:
    assert normalised(first) == normalised(second)


def test_an_emoji_is_a_title_of_its_own() -> None:
    assert normalised("😀") != normalised("🎬")
    assert normalised(" ") == ""


@given(text=st.text(max_size=20))
def test_normalising_twice_changes_nothing(text: str) -> None:
    assert normalised(normalised(text)) == normalised(text)


def test_novelty_and_copies() -> None:
    texts = ["THE MATRIX", "The Matrix 4", "", "the matrix."]
    assert copies(texts, ["The Matrix", "The Matrix", ""]).value == 0.5
    assert novelty(texts, ["The Matrix"]).value == 0.25
    assert novelty(["a"], []).value == 1.0
    assert math.isnan(novelty([], ["a"]).value)
