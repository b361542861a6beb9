"""Ranks of targets among all items and the metrics on them, against sorting by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import ndcg_score

from m6rec_core.errors import DataError
from m6rec_core.metrics import retrieval
from m6rec_core.metrics.bootstrap import Bootstrap
from m6rec_core.metrics.evidence import difference, interval
from m6rec_core.metrics.retrieval import (
    RANK_METRICS,
    catalogue_coverage,
    hit_rate,
    mrr,
    ndcg,
    recall,
    target_ranks,
    top_items,
)

PLAN = Bootstrap(50)


def planted(seed: int, rows: int, items: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    target = generator.integers(0, items, rows)
    exclude = generator.random((rows, items)) < 0.3
    exclude[np.arange(rows), target] = False
    return generator.integers(0, 5, (rows, items)).astype(np.float32), target, exclude


@given(seed=st.integers(0, 10_000), rows=st.integers(0, 9), items=st.integers(1, 12))
def test_ranks_equal_sorting_by_hand(seed: int, rows: int, items: int) -> None:
    scores, target, exclude = planted(seed, rows, items)
    expected = []
    for row in range(rows):
        others = [i for i in range(items) if not exclude[row, i] and i != target[row]]
        expected.append(1 + sum(scores[row, i] >= scores[row, target[row]] for i in others))
    assert target_ranks(scores, target, exclude).tolist() == expected


@given(seed=st.integers(0, 1000))
def test_chunks_change_nothing(seed: int) -> None:
    scores, target, exclude = planted(seed, 20, 7)
    whole = target_ranks(scores, target, exclude)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(retrieval, "_CELLS", 21)
        assert np.array_equal(target_ranks(scores, target, exclude), whole)


def test_ties_are_pessimistic() -> None:
    assert target_ranks(np.zeros((2, 5)), np.array([0, 4])).tolist() == [5, 5]
    assert target_ranks(np.array([[1, 2, 2, 3]]), np.array([1])).tolist() == [3]
    assert target_ranks(np.full((1, 3), -np.inf), np.array([1])).tolist() == [3]


@given(seed=st.integers(0, 1000), k=st.integers(1, 8))
def test_ndcg_equals_sklearn_without_ties(seed: int, k: int) -> None:
    generator = np.random.default_rng(seed)
    scores = np.stack([generator.permutation(8) for _ in range(5)]).astype(float)
    target = generator.integers(0, 8, 5)
    truth = np.eye(8)[target]
    assert ndcg(target_ranks(scores, target), 8, k).value == pytest.approx(ndcg_score(truth, scores, k=k))


def test_metrics_of_known_ranks() -> None:
    ranks = np.array([1, 3, 10, 4])
    assert hit_rate(ranks, 10, 3).value == 0.5
    assert ndcg(ranks, 10, 3).value == pytest.approx((1 + 1 / 2) / 4)
    assert mrr(ranks, 10).value == pytest.approx((1 + 1 / 3 + 1 / 10 + 1 / 4) / 4)
    assert mrr(ranks, 10, 3).value == pytest.approx((1 + 1 / 3) / 4)
    assert hit_rate(ranks, 10, 10).value == 1.0


def test_recall_of_several_targets() -> None:
    # Row 0 has targets at ranks 1 and 5, row 2 one at rank 2, row 1 none.
    found = recall(np.array([1, 5, 2]), np.array([0, 0, 2]), rows=3, items=6, k=2)
    assert found.value == pytest.approx((1 / 2 + 1) / 2)
    assert found.rows == 3


@given(seed=st.integers(0, 1000), k=st.integers(1, 10))
def test_top_items_and_coverage_equal_sorting(seed: int, k: int) -> None:
    scores, _, exclude = planted(seed, 6, 10)
    top = top_items(scores, k, exclude)
    for row in range(6):
        order = sorted((i for i in range(10) if not exclude[row, i]), key=lambda i: (-scores[row, i], i))[:k]
        assert top[row].tolist() == order + [-1] * (k - len(order))
    shown = {int(i) for i in top.ravel()} - {-1}
    assert catalogue_coverage(top, 10).value == pytest.approx(len(shown) / 10)


@pytest.mark.parametrize("name", RANK_METRICS)
def test_intervals_and_paired_differences(name: str) -> None:
    generator = np.random.default_rng(0)
    good, bad = generator.integers(1, 20, 200), generator.integers(1, 100, 200)
    metric = RANK_METRICS[name]
    model, other = (metric.evidence(ranks, 100, 10) for ranks in (good, bad))
    found = interval(model, PLAN)
    assert found.low < found.value < found.high
    assert difference(model, other, PLAN).low > 0
    assert metric.signature(100, 10, 200) == f"{name}@10|full ranking|items:100|ties:pessimistic|rows:200"


def test_one_row_and_none() -> None:
    assert interval(hit_rate([1], 3, 1), PLAN).value == 1.0
    assert math.isnan(hit_rate([], 3, 1).value)
    assert target_ranks(np.zeros((0, 3)), []).size == 0
    assert catalogue_coverage(np.zeros((0, 2)), 3).value == 0.0


@pytest.mark.parametrize("function", [hit_rate, ndcg, mrr])
@pytest.mark.parametrize("k", [0, 6])
def test_k_larger_than_the_catalogue_is_an_error(function, k: int) -> None:
    with pytest.raises(DataError, match=f"K = {k} with a catalogue of 5 items"):
        function([1, 2], 5, k)


def test_other_wrong_input_is_an_error() -> None:
    scores = np.zeros((2, 3))
    with pytest.raises(DataError, match="K = 4 with a catalogue of 3"):
        top_items(scores, 4)
    with pytest.raises(DataError, match="target, row 1: 3 is not an item of 0 to 2"):
        target_ranks(scores, [0, 3])
    with pytest.raises(DataError, match="expected 2 item indices"):
        target_ranks(scores, [0.5, 1.0])
    with pytest.raises(DataError, match="row 1: item 2 is excluded"):
        target_ranks(scores, [0, 2], np.array([[False] * 3, [False, False, True]]))
    with pytest.raises(DataError, match="row 1: not a number"):
        target_ranks(np.array([[0, 1, 2], [0, math.nan, 2]]), [0, 2])
    with pytest.raises(DataError, match="exclude: shape"):
        target_ranks(scores, [0, 1], np.zeros((2, 2), dtype=bool))
    with pytest.raises(DataError, match="expected \\[rows, items\\]"):
        target_ranks(np.zeros(3), [0])
    with pytest.raises(DataError, match="ranks, row 1: 0 is not a rank"):
        hit_rate([1, 0], 3, 1)
    with pytest.raises(DataError, match="one row of 0 to 1 per rank"):
        recall([1], [2], 2, 3, 1)
    with pytest.raises(DataError, match="coverage: expected lists"):
        catalogue_coverage([[3]], 3)
