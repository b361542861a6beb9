"""Bootstrap intervals: the fast weighted form equals repeating rows, coverage, pairing, clusters."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from m6rec_core.errors import ConfigError, DataError
from m6rec_core.metrics import METRICS, Metric, MetricInput, bootstrap_interval, bootstrap_intervals, paired_difference
from m6rec_core.metrics.bootstrap import Bootstrap, resample_weights


def planted(rows: int, seed: int = 0, ties: int = 1) -> MetricInput:
    generator = np.random.default_rng(seed)
    label = generator.integers(0, 2, rows)
    score = np.round(generator.normal(size=rows) + label, ties)
    return MetricInput(label, score, 1 / (1 + np.exp(-score)), generator.integers(0, max(1, rows // 8), rows))


@pytest.mark.parametrize("metric", METRICS.values(), ids=lambda m: m.name)
@given(seed=st.integers(0, 10_000), rows=st.integers(1, 40))
def test_weights_equal_repeated_rows(metric: Metric, seed: int, rows: int) -> None:
    data = planted(rows, seed)
    slow = bootstrap_interval(dataclasses.replace(metric, weighted=None), data, plan=Bootstrap(10, seed=seed))
    fast = bootstrap_interval(metric, data, plan=Bootstrap(10, seed=seed))
    assert dataclasses.astuple(fast) == pytest.approx(dataclasses.astuple(slow), abs=1e-12, nan_ok=True)


@pytest.mark.parametrize("metric", METRICS.values(), ids=lambda m: m.name)
def test_unit_weights_equal_the_metric(metric: Metric) -> None:
    data = planted(300)
    assert metric.weighted is not None
    assert metric.weighted(data)(np.ones((1, 300)))[0] == pytest.approx(metric.function(data), abs=1e-12)


def test_draws_are_with_replacement_and_seeded() -> None:
    weights = np.concatenate(list(resample_weights(50, Bootstrap(400, seed=1))))
    assert weights.shape == (400, 50)
    assert (weights.sum(axis=1) == 50).all()
    assert weights.var() == pytest.approx(1 - 1 / 50, rel=0.05)
    assert np.array_equal(weights, np.concatenate(list(resample_weights(50, Bootstrap(400, seed=1)))))
    assert not np.array_equal(weights, np.concatenate(list(resample_weights(50, Bootstrap(400, seed=2)))))


def test_cluster_draws_keep_clusters_whole() -> None:
    clusters = np.array([0, 0, 1, 2, 2, 2])
    weights = np.concatenate(list(resample_weights(6, Bootstrap(100), clusters)))
    assert (weights[:, 0] == weights[:, 1]).all()
    assert (weights[:, 3] == weights[:, 5]).all()
    assert (weights[:, [0, 2, 3]].sum(axis=1) == 3).all()


def test_interval_width_matches_the_standard_error_of_log_loss() -> None:
    data = planted(4000)
    found = bootstrap_interval(METRICS["log_loss"], data, plan=Bootstrap(2000))
    assert data.probability is not None
    losses = -np.log(np.where(data.label == 1, data.probability, 1 - data.probability))
    expected = 2 * 1.96 * losses.std() / math.sqrt(4000)
    assert found.high - found.low == pytest.approx(expected, rel=0.1)
    assert found.low < found.value < found.high


def test_cluster_interval_is_wider_for_repeated_rows() -> None:
    one = planted(300)
    user = np.repeat(np.arange(300), 5)
    data = MetricInput(np.repeat(one.label, 5), np.repeat(one.score, 5))
    by_row = bootstrap_interval(METRICS["auc"], data)
    by_user = bootstrap_interval(METRICS["auc"], data, clusters=user)
    assert (by_user.high - by_user.low) / (by_row.high - by_row.low) == pytest.approx(math.sqrt(5), rel=0.15)


def test_paired_difference_of_a_model_with_itself_is_zero() -> None:
    data = planted(200)
    found = paired_difference(METRICS["auc"], data, data, plan=Bootstrap(50))
    assert (found.value, found.low, found.high) == (0.0, 0.0, 0.0)
    assert not found.excludes_zero


def test_paired_difference_is_narrower_than_either_interval() -> None:
    model = planted(2000, ties=6)
    noise = np.random.default_rng(1).normal(scale=0.4, size=2000)
    worse = MetricInput(model.label, model.score + noise)
    difference = paired_difference(METRICS["auc"], model, worse, plan=Bootstrap(400))
    alone = bootstrap_interval(METRICS["auc"], model, plan=Bootstrap(400))
    assert difference.excludes_zero
    assert difference.high - difference.low < 0.8 * (alone.high - alone.low)


def test_several_metrics_share_their_resamples() -> None:
    data = planted(100)
    together = bootstrap_intervals(list(METRICS.values()), data, plan=Bootstrap(20, seed=3))
    assert together == {
        name: bootstrap_interval(metric, data, plan=Bootstrap(20, seed=3)) for name, metric in METRICS.items()
    }


def test_not_defined_gives_nan_bounds() -> None:
    found = bootstrap_interval(METRICS["auc"], MetricInput(np.ones(4), np.arange(4)), plan=Bootstrap(10))
    assert math.isnan(found.value)
    assert math.isnan(found.low)
    assert found.resamples == 0
    empty = MetricInput(np.zeros(0), np.zeros(0), np.zeros(0), np.zeros(0))
    assert all(
        math.isnan(i.value) for i in bootstrap_intervals(list(METRICS.values()), empty, plan=Bootstrap(3)).values()
    )


def test_bad_settings_and_unlike_rows_are_refused() -> None:
    data = planted(10)
    with pytest.raises(ConfigError, match="resamples"):
        Bootstrap(0)
    with pytest.raises(ConfigError, match="level"):
        Bootstrap(level=95)
    with pytest.raises(DataError, match="same labels"):
        paired_difference(METRICS["auc"], data, MetricInput(1 - data.label, data.score))
