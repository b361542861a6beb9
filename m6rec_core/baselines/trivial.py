"""The baselines every run prints: what counting alone can do on the same rows (design 9.5).

All but `random` read statistics that were counted strictly before each row, so none of them can leak.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from m6rec_core.baselines.data import Baseline, BaselineData, BaselineResult, FloatArray, IntArray
from m6rec_core.logs.statistics import STATISTICS

_RATES = ("item_rate", "user_rate", "recent_rate")
_EDGE = 1e-6
"""Rates are kept this far from 0 and 1 before the logit; smoothing keeps them much farther already."""


def base_rate(label: FloatArray) -> float:
    """Return the share of positive labels, smoothed by one positive and one negative row: never 0 or 1."""
    return float((label.sum() + 1.0) / (label.size + 2.0))


def statistic_features(statistics: FloatArray, names: tuple[str, ...] = STATISTICS) -> FloatArray:
    """Return statistics [n, 6] as features [n, len(names)]: logit of rates, log(1 + count) of counts, margins as is."""
    columns = []
    for name in names:
        column = statistics[:, STATISTICS.index(name)]
        if name in _RATES:
            clipped = np.clip(column, _EDGE, 1.0 - _EDGE)
            columns.append(np.log(clipped / (1.0 - clipped)))
        elif name.endswith("_margin"):
            columns.append(column)
        else:
            columns.append(np.log1p(column))
    return np.stack(columns, axis=1)


def standardise(features: FloatArray, train: IntArray) -> FloatArray:
    """Return features [n, f] with mean 0 and deviation 1 over the rows `train`; constant columns become 0."""
    mean, deviation = features[train].mean(axis=0), features[train].std(axis=0)
    scaled: FloatArray = (features - mean) / np.where(deviation > 0.0, deviation, 1.0)
    return scaled


def fit_logistic(features: FloatArray, label: FloatArray, train: IntArray, test: IntArray) -> FloatArray:
    """Return log-odds [n_test] of a logistic regression (L2, C = 1) on standardised features.

    With no training rows, or one class only, nothing can be learned: the smoothed base rate for every row.
    """
    from sklearn.linear_model import LogisticRegression

    y = label[train]
    if y.size == 0 or y.min() == y.max():
        rate = base_rate(y)
        return np.full(test.size, np.log(rate / (1.0 - rate)))
    scaled = standardise(features, train)
    model = LogisticRegression(C=1.0, max_iter=1000).fit(scaled[train], y)
    return np.asarray(model.decision_function(scaled[test]), dtype=np.float64)


def sigmoid(log_odds: FloatArray) -> FloatArray:
    """Return 1 / (1 + exp(-x)) without overflow."""
    return 0.5 * (1.0 + np.tanh(0.5 * log_odds))


@dataclass(frozen=True, slots=True)
class RandomBaseline:
    """Uniform scores; its probability is the base rate of the training rows, the best guess without looking."""

    name: str = "random"

    def fit_predict(
        self, data: BaselineData, train: IntArray, valid: IntArray, test: IntArray, seed: int
    ) -> BaselineResult:
        """Draw scores from the seed. See `Baseline`."""
        score = np.random.default_rng(seed).random(test.size)
        return BaselineResult(score, np.full(test.size, base_rate(data.label[train])), {"rows": int(train.size)})


@dataclass(frozen=True, slots=True)
class RateBaseline:
    """One smoothed rate as it stands: it is a probability already, and nothing is learned."""

    name: str
    statistic: str

    def fit_predict(
        self, data: BaselineData, train: IntArray, valid: IntArray, test: IntArray, seed: int
    ) -> BaselineResult:
        """Return the rate counted before each row. See `Baseline`."""
        rate = data.statistics[test, STATISTICS.index(self.statistic)]
        return BaselineResult(rate, rate, {"rows": 0, "statistic": self.statistic})


@dataclass(frozen=True, slots=True)
class PopularityBaseline:
    """The number of earlier events of the item; its probability is a logistic regression on that number alone."""

    name: str = "popularity"

    def fit_predict(
        self, data: BaselineData, train: IntArray, valid: IntArray, test: IntArray, seed: int
    ) -> BaselineResult:
        """Count, and calibrate the count on the training rows. See `Baseline`."""
        features = statistic_features(data.statistics, ("item_count",))
        probability = sigmoid(fit_logistic(features, data.label, train, test))
        return BaselineResult(features[test, 0], probability, {"rows": int(train.size)})


@dataclass(frozen=True, slots=True)
class LogisticRegressionBaseline:
    """Logistic regression on all statistics: the baseline to respect (a text model may read the same numbers)."""

    name: str = "logistic-regression"

    def fit_predict(
        self, data: BaselineData, train: IntArray, valid: IntArray, test: IntArray, seed: int
    ) -> BaselineResult:
        """Fit on the training rows. See `Baseline`."""
        log_odds = fit_logistic(statistic_features(data.statistics), data.label, train, test)
        return BaselineResult(log_odds, sigmoid(log_odds), {"rows": int(train.size), "features": len(STATISTICS)})


_ALL: tuple[Baseline, ...] = (
    RandomBaseline(),
    PopularityBaseline(),
    RateBaseline("item-mean", "item_rate"),
    RateBaseline("user-mean", "user_rate"),
    RateBaseline("user-like-ratio", "recent_rate"),
    LogisticRegressionBaseline(),
)

TRIVIAL: Mapping[str, Baseline] = MappingProxyType({baseline.name: baseline for baseline in _ALL})
"""Name -> baseline, in the order of the report; immutable.

`user-like-ratio` is the smoothed share of liked events among the user's last 10 (protocols: "of the history"),
`user-mean` that among all of the user's earlier events.
"""
