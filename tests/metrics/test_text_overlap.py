"""BLEU in its variants and ROUGE against sacrebleu, nltk, rouge-score and brute-force definitions."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nltk.translate.bleu_score import corpus_bleu as nltk_corpus
from nltk.translate.bleu_score import sentence_bleu as nltk_sentence
from rouge_score.rouge_scorer import RougeScorer
from sacrebleu.metrics.bleu import BLEU

from m6rec_core.errors import ConfigError
from m6rec_core.metrics.text.bleu import corpus_bleu, sacre_bleu, sentence_bleu
from m6rec_core.metrics.text.ngrams import TOKENIZERS, matches, ngrams, tokenized
from m6rec_core.metrics.text.rouge import longest_common_subsequence, rouge, rouge_rows, rouge_set_rows

WORD = st.sampled_from(["a", "b", "c", "the", "The", "café", "北京", "烤鸭", "😀", "don't", "7"])
TEXT = st.lists(WORD, max_size=9).map(" ".join)
ROWS = st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=8)


def split(rows: list[tuple[str, str]]) -> tuple[list[str], list[str]]:
    return [h for h, _ in rows], [r for _, r in rows]


@pytest.mark.parametrize("tokenizer", ["13a", "zh", "char"])
@given(rows=ROWS)
@settings(max_examples=40)
def test_bleu_equals_sacrebleu(tokenizer: str, rows: list[tuple[str, str]]) -> None:
    hypotheses, references = split(rows)
    expected = BLEU(tokenize=tokenizer).corpus_score(hypotheses, [references]).score
    assert sacre_bleu(hypotheses, references, tokenizer).value == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("order", [1, 2, 3, 4])
@given(rows=ROWS, seed=st.integers(0, 99))
@settings(max_examples=40)
def test_a_resample_of_bleu_equals_repeated_rows(order: int, rows: list[tuple[str, str]], seed: int) -> None:
    drawn = np.random.default_rng(seed).integers(0, len(rows), len(rows))
    weights = np.bincount(drawn, minlength=len(rows))[None].astype(float)
    hypotheses, references = split([rows[i] for i in drawn])
    for function in (lambda h, r: corpus_bleu(h, r, order), sacre_bleu, lambda h, r: sentence_bleu(h, r, order, True)):
        resampled = function(*split(rows)).weighted(weights)[0]
        assert resampled == pytest.approx(function(hypotheses, references).value, abs=1e-9, nan_ok=True)


@pytest.mark.parametrize("order", [1, 2, 3, 4])
@given(rows=ROWS)
@settings(max_examples=40)
def test_corpus_bleu_equals_sacrebleu_without_smoothing(order: int, rows: list[tuple[str, str]]) -> None:
    hypotheses, references = split(rows)
    peter = corpus_bleu(hypotheses, references, order, scale=100.0).value
    if not any(hypotheses) and not any(references):
        assert np.isnan(peter)
        return
    oracle = BLEU(tokenize="none", smooth_method="none", max_ngram_order=order, force=True)
    assert peter == pytest.approx(oracle.corpus_score(hypotheses, [references]).score, abs=1e-9)


@pytest.mark.parametrize("order", [1, 2, 3])
@given(rows=ROWS)
@settings(max_examples=40)
def test_bleu_equals_nltk(order: int, rows: list[tuple[str, str]]) -> None:
    hypotheses, references = split(rows)
    first, second = [h.split() for h in hypotheses], [r.split() for r in references]
    cumulative = tuple(1 / order if n < order else 0.0 for n in range(4))
    individual = tuple(1.0 if n == order - 1 else 0.0 for n in range(4))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        rows_of = [
            [nltk_sentence([r], h, w) for h, r in zip(first, second, strict=True)] for w in (cumulative, individual)
        ]
        corpus = nltk_corpus([[r] for r in second], first, cumulative)
    assert sentence_bleu(hypotheses, references, order, False).value == pytest.approx(np.mean(rows_of[0]), abs=1e-9)
    assert sentence_bleu(hypotheses, references, order, True).value == pytest.approx(np.mean(rows_of[1]), abs=1e-9)
    if min(map(len, first)) >= order:  # nltk counts one possible n-gram in texts that are shorter
        assert corpus_bleu(hypotheses, references, order).value == pytest.approx(corpus, abs=1e-9)


def test_individual_and_cumulative_are_different_numbers() -> None:
    hypotheses, references = ["a b c x"], ["a b c d"]
    assert sentence_bleu(hypotheses, references, 2, True).value == pytest.approx(2 / 3)
    assert sentence_bleu(hypotheses, references, 2, False).value == pytest.approx((3 / 4 * 2 / 3) ** 0.5)


def test_the_brevity_penalty_is_of_the_corpus() -> None:
    # 2 + 4 tokens against 4 + 4, all matched: precision 1, BP = exp(1 - 8 / 6).
    assert corpus_bleu(["a b", "a b c d"], ["a b c d"] * 2, 1, scale=100.0).value == pytest.approx(
        100 * np.exp(1 - 8 / 6)
    )


@pytest.mark.parametrize("kind", ["1", "2", "L"])
@given(rows=ROWS)
@settings(max_examples=40)
def test_rouge_equals_rouge_score(kind: str, rows: list[tuple[str, str]]) -> None:
    scorer = RougeScorer([f"rouge{kind}"], use_stemmer=False)
    expected = [scorer.score(r, h)[f"rouge{kind}"] for h, r in rows]
    found = rouge_rows(*split(rows), kind)
    assert found.precision == pytest.approx([row.precision for row in expected])
    assert found.recall == pytest.approx([row.recall for row in expected])
    assert found.f1 == pytest.approx([row.fmeasure for row in expected])
    assert rouge(found, "f1").value == pytest.approx(np.mean([row.fmeasure for row in expected]))


def test_rouge_over_sets_counts_repeats_once() -> None:
    clipped = rouge_rows(["a a a b"], ["a b c"], "1", "blanks")
    sets = rouge_set_rows(["a a a b"], ["a b c"], 1, "blanks")
    assert (clipped.precision[0], sets.precision[0]) == (0.5, 1.0)
    assert clipped.recall[0] == sets.recall[0] == pytest.approx(2 / 3)
    assert rouge(sets, "f1", 100.0).value == pytest.approx(80.0)


@given(first=st.lists(st.sampled_from("abcd"), max_size=70), second=st.lists(st.sampled_from("abcd"), max_size=70))
def test_longest_common_subsequence_equals_the_table(first: list[str], second: list[str]) -> None:
    table = np.zeros((len(first) + 1, len(second) + 1), dtype=int)
    for i, a in enumerate(first):
        for j, b in enumerate(second):
            table[i + 1, j + 1] = table[i, j] + 1 if a == b else max(table[i, j + 1], table[i + 1, j])
    assert longest_common_subsequence(first, second) == table[-1, -1]


@pytest.mark.parametrize(("hypothesis", "reference"), [("", ""), ("", "a b"), ("a b", ""), ("😀", "🎬")])
def test_nothing_in_common_is_zero(hypothesis: str, reference: str) -> None:
    assert sacre_bleu([hypothesis], [reference]).value == 0.0
    for individual in (True, False):
        assert sentence_bleu([hypothesis], [reference], 2, individual).value == 0.0
    for kind in ("1", "2", "L"):
        assert rouge(rouge_rows([hypothesis], [reference], kind), "f1").value == 0.0


def test_no_rows_are_not_defined() -> None:
    assert np.isnan(corpus_bleu([], [], 2).value)
    assert np.isnan(sentence_bleu([], [], 2, True).value)
    assert np.isnan(rouge(rouge_rows([], [], "1"), "f1").value)


@pytest.mark.parametrize(
    ("name", "tokens"),
    [
        ("blanks", ["Film", "北京,", "don't", "2.5"]),
        ("blanks-lc", ["film", "北京,", "don't", "2.5"]),
        ("rouge", ["film", "don", "t", "2", "5"]),
        ("13a", ["Film", "北京", ",", "don't", "2.5"]),
        ("zh", ["Film", "北", "京", ",", "don't", "2.5"]),
        ("char", list("Film北京,don't2.5")),
    ],
)
def test_tokenisations(name: str, tokens: list[str]) -> None:
    assert TOKENIZERS[name]("Film 北京, don't\t2.5 ") == tokens


def test_an_unknown_tokenisation_is_an_error() -> None:
    with pytest.raises(ConfigError, match="choose one of blanks"):
        tokenized(["a"], "14a")


def test_ngrams_and_matches() -> None:
    assert ngrams(["a", "b", "c"], 2) == [("a", "b"), ("b", "c")]
    assert ngrams(["a"], 2) == []
    assert matches(["a", "a", "a"], ["a", "a", "b"], 1) == 2
