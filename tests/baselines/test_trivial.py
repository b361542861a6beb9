"""The trivial baselines: what they read, edge cases, and the numbers of the protocol."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from m6rec_core.baselines import TRIVIAL, Baseline, BaselineData
from m6rec_core.baselines.trivial import base_rate, sigmoid, statistic_features
from m6rec_core.errors import DataError
from m6rec_core.logs.statistics import STATISTICS
from m6rec_core.metrics import auc, log_loss


def planted(rows: int = 600, seed: int = 0) -> BaselineData:
    """Labels that follow the item rate and, less, the recent rate."""
    generator = np.random.default_rng(seed)
    rates = generator.uniform(0.05, 0.95, (rows, 3))
    counts = generator.integers(0, 50, (rows, 2))
    odds = np.log(rates / (1 - rates))
    label = (generator.random(rows) < sigmoid(odds[:, 0] + 0.5 * odds[:, 2])).astype(np.float64)
    user, item = generator.integers(0, 20, rows), generator.integers(0, 30, rows)
    return BaselineData(
        label=label,
        statistics=np.concatenate([rates, counts, rates[:, :1] - rates[:, 1:2]], axis=1),
        time=np.arange(rows, dtype=np.float64),
        user=user,
        item=item,
        history_item=np.full((rows, 3), -1),
        history_outcome=np.full((rows, 3), -1),
    )


TRAIN, VALID, TEST = np.arange(400), np.arange(400, 500), np.arange(500, 600)


@pytest.mark.parametrize("baseline", TRIVIAL.values(), ids=lambda b: b.name)
def test_every_baseline_keeps_the_protocol(baseline: Baseline) -> None:
    data = planted()
    found = baseline.fit_predict(data, TRAIN, VALID, TEST, 1)
    again = baseline.fit_predict(data, TRAIN, VALID, TEST, 1)
    assert isinstance(baseline, Baseline)
    assert found.score.shape == found.probability.shape == (100,)
    assert np.array_equal(found.score, again.score)
    assert ((found.probability > 0) & (found.probability < 1)).all()


@pytest.mark.parametrize("baseline", TRIVIAL.values(), ids=lambda b: b.name)
def test_test_labels_are_not_looked_at(baseline: Baseline) -> None:
    data = planted()
    flipped = data.label.copy()
    flipped[TEST] = 1 - flipped[TEST]
    found = baseline.fit_predict(data, TRAIN, VALID, TEST, 1)
    blind = baseline.fit_predict(dataclasses.replace(data, label=flipped), TRAIN, VALID, TEST, 1)
    assert np.array_equal(found.score, blind.score)
    assert np.array_equal(found.probability, blind.probability)


@pytest.mark.parametrize("baseline", TRIVIAL.values(), ids=lambda b: b.name)
@pytest.mark.parametrize("rows", [0, 1])
def test_no_rows_and_a_single_class_do_not_fail(baseline: Baseline, rows: int) -> None:
    found = baseline.fit_predict(planted(), np.arange(rows), VALID, TEST, 0)
    assert np.isfinite(found.score).all()
    assert np.isfinite(found.probability).all()


def test_random_follows_its_seed() -> None:
    data = planted()
    one, two = (TRIVIAL["random"].fit_predict(data, TRAIN, VALID, TEST, seed).score for seed in (1, 2))
    assert not np.array_equal(one, two)


@pytest.mark.parametrize(
    ("name", "statistic"),
    [("item-mean", "item_rate"), ("user-mean", "user_rate"), ("user-like-ratio", "recent_rate")],
)
def test_rates_are_scores_and_probabilities(name: str, statistic: str) -> None:
    data = planted()
    found = TRIVIAL[name].fit_predict(data, TRAIN, VALID, TEST, 0)
    expected = data.statistics[TEST, STATISTICS.index(statistic)]
    assert np.array_equal(found.score, expected)
    assert np.array_equal(found.probability, expected)


def test_popularity_ranks_by_count() -> None:
    data = planted()
    score = TRIVIAL["popularity"].fit_predict(data, TRAIN, VALID, TEST, 0).score
    assert np.array_equal(np.argsort(score, kind="stable"), np.argsort(data.statistics[TEST, 3], kind="stable"))


def test_logistic_regression_is_the_documented_one() -> None:
    data = planted()
    features = np.concatenate([np.log(data.statistics[:, :3] / (1 - data.statistics[:, :3])),
                               np.log1p(data.statistics[:, 3:5]), data.statistics[:, 5:]], axis=1)  # fmt: skip
    scaled = (features - features[TRAIN].mean(axis=0)) / features[TRAIN].std(axis=0)
    expected = LogisticRegression(C=1.0).fit(scaled[TRAIN], data.label[TRAIN]).predict_proba(scaled[TEST])[:, 1]
    found = TRIVIAL["logistic-regression"].fit_predict(data, TRAIN, VALID, TEST, 0)
    assert found.probability == pytest.approx(expected, abs=1e-4)


def test_logistic_regression_beats_each_single_rate() -> None:
    data = planted(5000)
    train, test = np.arange(3000), np.arange(3000, 5000)
    values = {n: auc(data.label[test], b.fit_predict(data, train, VALID, test, 0).score) for n, b in TRIVIAL.items()}
    assert max(values, key=values.__getitem__) == "logistic-regression"
    assert values["random"] == pytest.approx(0.5, abs=0.05)
    best = TRIVIAL["logistic-regression"].fit_predict(data, train, VALID, test, 0)
    flat = TRIVIAL["random"].fit_predict(data, train, VALID, test, 0)
    assert log_loss(data.label[test], best.probability) < log_loss(data.label[test], flat.probability)


def test_features_and_base_rate_are_finite_at_the_edges() -> None:
    edge = np.array([[0.0, 1.0, 0.5, 0.0, 1e9, -3.0]])
    assert np.isfinite(statistic_features(edge)).all()
    assert base_rate(np.zeros(0)) == 0.5
    assert sigmoid(np.array([-1e4, 0.0, 1e4])) == pytest.approx([0.0, 0.5, 1.0])


def test_arrays_that_do_not_fit_are_refused() -> None:
    data = planted()
    with pytest.raises(DataError, match="statistics has 5 rows"):
        dataclasses.replace(data, statistics=data.statistics[:5])
    with pytest.raises(DataError, match="unlike shapes"):
        dataclasses.replace(data, history_outcome=np.full((600, 2), -1))
    with pytest.raises(DataError, match="item 29 has no value of field 'genre'"):
        dataclasses.replace(data, item_fields={"genre": ("Drama",) * 29})


def test_registry_is_immutable() -> None:
    assert next(iter(TRIVIAL)) == "random"
    with pytest.raises(TypeError):
        TRIVIAL["random"] = TRIVIAL["item-mean"]  # type: ignore[index]
