"""AUC, GAUC and log loss against brute force and scikit-learn."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import log_loss as sklearn_log_loss
from sklearn.metrics import roc_auc_score

from m6rec_core.errors import DataError
from m6rec_core.metrics import METRICS, MetricInput, auc, gauc, log_loss

# Few distinct scores, so that ties are common.
rows = st.lists(st.tuples(st.integers(0, 1), st.integers(-3, 3), st.integers(0, 3)), min_size=1, max_size=40)


def brute_force_auc(label: list[int], score: list[int]) -> float:
    pairs = [
        1.0 if p > n else 0.5 if p == n else 0.0
        for y, p in zip(label, score, strict=True)
        if y == 1
        for z, n in zip(label, score, strict=True)
        if z == 0
    ]
    return sum(pairs) / len(pairs) if pairs else math.nan


@given(rows)
def test_auc_equals_counting_all_pairs(drawn: list[tuple[int, int, int]]) -> None:
    label, score, _ = map(list, zip(*drawn, strict=True))
    assert auc(label, score) == pytest.approx(brute_force_auc(label, score), abs=1e-12, nan_ok=True)


@given(rows)
def test_gauc_equals_the_weighted_mean_over_users(drawn: list[tuple[int, int, int]]) -> None:
    total, weight, users = 0.0, 0, 0
    for user in {u for _, _, u in drawn}:
        mine = [(y, s) for y, s, u in drawn if u == user]
        value = brute_force_auc([y for y, _ in mine], [s for _, s in mine])
        if not math.isnan(value):
            total, weight, users = total + value * len(mine), weight + len(mine), users + 1
    expected = total / weight if weight else math.nan
    label, score, user_ids = map(list, zip(*drawn, strict=True))
    value, counted = gauc(label, score, user_ids)
    assert value == pytest.approx(expected, abs=1e-12, nan_ok=True)
    assert counted == users


def test_against_scikit_learn() -> None:
    generator = np.random.default_rng(0)
    label = generator.integers(0, 2, 5000)
    score = np.round(generator.normal(size=5000) + label, 1)
    probability = generator.uniform(0.01, 0.99, 5000)
    assert auc(label, score) == pytest.approx(roc_auc_score(label, score), abs=1e-12)
    assert log_loss(label, probability) == pytest.approx(sklearn_log_loss(label, probability), abs=1e-12)


def test_gauc_takes_text_ids() -> None:
    assert gauc([1, 0, 1, 1], [0.9, 0.1, 0.2, 0.3], ["ann", "ann", "bob", "bob"]) == (1.0, 1)


def test_a_single_class_and_no_rows_are_not_defined() -> None:
    assert math.isnan(auc([1, 1], [0.1, 0.2]))
    assert math.isnan(auc([], []))
    assert gauc([], [], [])[1] == 0
    assert math.isnan(log_loss([], []))


def test_certain_and_wrong_is_finite() -> None:
    assert log_loss([1], [0.0]) == pytest.approx(-math.log(1e-7))


def test_infinite_scores_rank() -> None:
    assert auc([1, 0, 1], [np.inf, -np.inf, 0.0]) == 1.0


@pytest.mark.parametrize(
    ("label", "score", "message"),
    [
        ([0, 2], [0.1, 0.2], "labels, row 1"),
        ([0, 1], [0.1], "score: expected 2"),
        ([0, 1], [0.1, float("nan")], "score, row 1"),
        ([[0, 1]], [[0.1, 0.2]], "one value per row"),
    ],
)
def test_bad_input_names_the_row(label: list[int], score: list[float], message: str) -> None:
    with pytest.raises(DataError, match=message):
        auc(label, score)


def test_probability_outside_its_range_names_the_row() -> None:
    with pytest.raises(DataError, match="probability, row 1"):
        log_loss([0, 1], [0.5, 1.5])


def test_registry_is_immutable_and_consistent() -> None:
    data = MetricInput(np.array([1, 0, 1]), np.array([3, 2, 1]), np.array([0.9, 0.2, 0.4]), np.array([5, 5, 7]))
    values = {name: metric.function(data) for name, metric in METRICS.items()}
    assert values["auc"] == 0.5
    assert values["gauc"] == 1.0
    assert values["log_loss"] == pytest.approx(-(math.log(0.9) + math.log(0.8) + math.log(0.4)) / 3)
    assert all(name == metric.name and metric.signature.startswith(name) for name, metric in METRICS.items())
    with pytest.raises(TypeError):
        METRICS["auc"] = METRICS["gauc"]  # type: ignore[index]


def test_unknown_users_and_probabilities_are_not_defined() -> None:
    data = MetricInput(np.array([1, 0]), np.array([2, 1]))
    assert math.isnan(METRICS["gauc"].function(data))
    assert math.isnan(METRICS["log_loss"].function(data))
