"""Intervals from evidence: the bootstrap of sums, the jackknife of distinct counts, pairing, coverage."""

from __future__ import annotations

import math

import numpy as np
import pytest

from m6rec_core.errors import DataError
from m6rec_core.metrics.bootstrap import Bootstrap
from m6rec_core.metrics.evidence import LeaveOneOut, difference, distinct_share, interval, intervals, ratio, row_mean


def test_a_mean_has_the_interval_of_its_standard_error() -> None:
    values = np.random.default_rng(0).normal(3.0, 2.0, 2000)
    found = interval(row_mean(values), Bootstrap(2000))
    assert found.value == pytest.approx(values.mean())
    assert (found.high - found.low) / 2 == pytest.approx(1.96 * 2.0 / math.sqrt(2000), rel=0.1)


def test_the_jackknife_of_a_mean_is_its_standard_error() -> None:
    values = np.random.default_rng(0).normal(3.0, 2.0, 50)
    without = np.array([np.delete(values, i).mean() for i in range(50)])
    found = interval(LeaveOneOut(float(values.mean()), without))
    assert (found.high - found.low) / 2 == pytest.approx(1.959964 * values.std(ddof=1) / math.sqrt(50))
    assert found.resamples == 50


def test_the_jackknife_of_a_distinct_count_covers() -> None:
    # Distinct values among 60 draws of 200: the interval holds the expectation at least about as often as it says.
    expected = 200 * (1 - (1 - 1 / 200) ** 60) / 60
    generator = np.random.default_rng(1)
    held = 0
    for _ in range(400):
        found = interval(distinct_share([[int(v)] for v in generator.integers(0, 200, 60)], np.ones(60)))
        held += found.low <= expected <= found.high
    assert held / 400 >= 0.93


def test_rows_that_are_not_counted_do_not_matter() -> None:
    values, counted = np.array([1.0, np.nan, 0.0]), np.array([True, False, True])
    assert row_mean(values, counted).value == 0.5
    assert row_mean(values, counted, scale=100.0).value == 50.0


def test_a_bootstrap_is_the_same_alone_and_among_others() -> None:
    items = {name: row_mean(np.random.default_rng(seed).random(30)) for seed, name in enumerate("ab")}
    together = intervals(items, Bootstrap(40))
    assert together == {name: interval(item, Bootstrap(40)) for name, item in items.items()}


@pytest.mark.parametrize("rows", [0, 1])
def test_few_rows(rows: int) -> None:
    mean = interval(row_mean(np.ones(rows)))
    share = interval(distinct_share([["a"]] * rows, np.ones(rows)))
    assert math.isnan(mean.value) if rows == 0 else (mean.low, mean.high) == (1.0, 1.0)
    assert math.isnan(share.low)
    assert math.isnan(share.high)


def test_different_rows_or_kinds_are_errors() -> None:
    with pytest.raises(DataError, match=r"over \[1, 2\] rows"):
        intervals({"a": row_mean(np.ones(1)), "b": row_mean(np.ones(2))})
    with pytest.raises(DataError, match="1 rows against 2"):
        difference(row_mean(np.ones(1)), row_mean(np.ones(2)))
    with pytest.raises(DataError, match="two different metrics"):
        difference(row_mean(np.ones(2)), distinct_share([["a"], ["b"]], np.ones(2)))


def test_ratio_is_not_defined_below_zero_rows() -> None:
    assert ratio([1.0, 1.0], [2.0, 0.0]) == pytest.approx([0.5, np.nan], nan_ok=True)
