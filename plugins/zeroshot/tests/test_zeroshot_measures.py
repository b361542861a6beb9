"""Measures against brute force over orders, and their intervals."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from m6rec_plugin_zeroshot.measures import differences, intervals, measure, ndcg, precision_at_1, scored
from m6rec_plugin_zeroshot.rivals import RIVALS, rivals
from m6rec_plugin_zeroshot.sample import Choice, ChoiceSample

from m6rec_core.errors import ConfigError

LINES = st.lists(st.tuples(st.integers(0, 2), st.booleans()), min_size=2, max_size=5).filter(
    lambda line: any(right for _, right in line)
)


def orders(scores):
    """Every order of the choices that sorts the scores downwards."""
    every = itertools.permutations(range(len(scores)))
    return [o for o in every if all(scores[a] >= scores[b] for a, b in itertools.pairwise(o))]


@given(LINES)
def test_ties_count_as_the_mean_over_their_orders(line):
    scores = np.array([float(score) for score, _ in line])
    right = np.array([float(r) for _, r in line])
    found = orders(scores)
    first = np.mean([right[order[0]] for order in found])
    assert precision_at_1(scores, right) == pytest.approx(first)
    best = sum(1 / math.log2(rank + 2) for rank in range(int(right.sum())))
    gains = [sum(right[c] / math.log2(rank + 2) for rank, c in enumerate(order)) for order in found]
    assert ndcg(scores, right) == pytest.approx(np.mean(gains) / best)


def test_a_constant_score_is_chance():
    model = scored([np.zeros(5)] * 8, [np.eye(5)[n % 5] for n in range(8)])
    found = measure(model)
    assert found["precision@1"] == pytest.approx(0.2)
    assert found["auc"] == found["auc in sample"] == 0.5
    assert all(i.low == pytest.approx(i.high) for i in intervals(model, 50).values())


def test_pooled_auc_compares_across_samples_and_the_other_does_not():
    model = scored([np.array([1.0, 0.0]), np.array([3.0, 2.0])], [np.array([1.0, 0.0])] * 2)
    found = measure(model)
    assert found["auc in sample"] == 1.0
    assert found["auc"] == 0.75


def test_intervals_hold_the_value_and_differences_are_paired():
    chance = np.random.default_rng(0)
    right = [np.eye(5)[int(chance.integers(5))] for _ in range(60)]
    good = scored([chance.random(5) + line for line in right], right)
    worse = scored([chance.random(5) for _ in right], right)
    for name, interval in intervals(good, 200).items():
        assert interval.low <= interval.value <= interval.high, name
    assert all(gap.low > 0 for gap in differences(good, worse, 200).values())
    assert all(gap.value == 0 and not gap.excludes_zero for gap in differences(good, good, 50).values())


def test_rivals():
    choices = (Choice(id="1", text="Heat wave", popularity=1), Choice(id="2", text="Babe in Toyland", popularity=9))
    sample = ChoiceSample(id="a", context=("Babe", "Toy Story"), choices=choices, label=0)
    found = {name: scores[0].tolist() for name, scores in rivals([sample], None).items()}
    assert list(found) == list(RIVALS)
    assert found["random"] == [0, 0]
    assert found["popularity"] == [1, 9]
    assert found["title-overlap"] == [0, pytest.approx(1 / 3)]
    assert found["title-similarity"][0] == 0
    assert 0 < found["title-similarity"][1] < 1
    unknown = ChoiceSample(id="b", context=(), choices=("Heat", "Babe"), label=0)
    assert "popularity" not in rivals([sample, unknown], None)
    assert list(rivals([sample], ["random"])) == ["random"]
    with pytest.raises(ConfigError, match="no baseline 'din'"):
        rivals([sample], ["din"])
