"""How good a choice is: precision@1, NDCG and AUC with ties at their expected value, and 95 % bootstrap intervals.

Shapes: n samples, C choices of one sample. Ties count as if their order were drawn at random, so a constant score gets
exactly what chance gives.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from m6rec_core.metrics import METRICS, Bootstrap, Interval, MetricInput, auc, bootstrap_interval, paired_difference
from m6rec_core.metrics.bootstrap import resample_weights

Floats = NDArray[np.float64]
POOLED = "auc"
"""AUC over all choices of all samples together, the paper's Fig. 7; "auc in sample" compares within a sample only."""

NAMES = (POOLED, "auc in sample", "precision@1", "ndcg")


@dataclass(frozen=True, slots=True, eq=False)
class Scored:
    """A model's scores: per sample the scores [C] and whether each choice is right, 1 or 0 [C]."""

    scores: tuple[Floats, ...]
    right: tuple[Floats, ...]

    def pooled(self) -> MetricInput:
        """All choices of all samples, the sample's number as user."""
        codes = np.repeat(np.arange(len(self.right)), [line.size for line in self.right])
        return MetricInput(np.concatenate(self.right), np.concatenate(self.scores), None, codes)


def precision_at_1(scores: Floats, right: Floats) -> float:
    """Return the share of right choices among those with the highest score: the chance that the first is right."""
    return float(right[scores == scores.max()].mean())


def ndcg(scores: Floats, right: Floats) -> float:
    """Return DCG over all choices divided by the best possible, gains 0 and 1, discount 1 / log2(1 + rank).

    Tied choices share the mean discount of their ranks (McSherry and Najork 2008). nan when no choice is right.
    """
    if not right.any():
        return float("nan")
    discount = 1.0 / np.log2(np.arange(2, scores.size + 2))
    gain = 0.0
    for value in np.unique(scores):
        tied = scores == value
        above = int((scores > value).sum())
        gain += float(right[tied].sum() * discount[above : above + int(tied.sum())].mean())
    return gain / float(discount[: int(right.sum())].sum())


def per_sample(model: Scored) -> dict[str, Floats]:
    """Return the measures that each sample has by itself, [n] each; nan where a sample has one class only."""
    pairs = list(zip(model.scores, model.right, strict=True))
    return {
        "auc in sample": np.array([auc(right, scores) for scores, right in pairs]),
        "precision@1": np.array([precision_at_1(scores, right) for scores, right in pairs]),
        "ndcg": np.array([ndcg(scores, right) for scores, right in pairs]),
    }


def measure(model: Scored) -> dict[str, float]:
    """Return all measures, means over samples but for the pooled AUC."""
    pooled = model.pooled()
    return {POOLED: auc(pooled.label, pooled.score)} | {n: _mean(v) for n, v in per_sample(model).items()}


def intervals(model: Scored, resamples: int) -> dict[str, Interval]:
    """Return all measures with their intervals; whole samples are drawn."""
    plan = Bootstrap(resamples)
    pooled = model.pooled()
    found = {POOLED: bootstrap_interval(METRICS["auc"], pooled, plan=plan, clusters=pooled.user)}
    return found | {name: _interval(values, plan) for name, values in per_sample(model).items()}


def differences(model: Scored, other: Scored, resamples: int) -> dict[str, Interval]:
    """Return model minus other on the same samples, both on each resample."""
    plan = Bootstrap(resamples)
    first, second = model.pooled(), other.pooled()
    found = {POOLED: paired_difference(METRICS["auc"], first, second, plan=plan, clusters=first.user)}
    own, theirs = per_sample(model), per_sample(other)
    return found | {name: _interval(own[name] - theirs[name], plan) for name in own}


def as_json(found: Mapping[str, Interval]) -> dict[str, dict[str, float]]:
    """The intervals for `metrics.json`."""
    return {name: {"value": i.value, "low": i.low, "high": i.high} for name, i in found.items()}


def _mean(values: Floats) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else float("nan")


def _interval(values: Floats, plan: Bootstrap) -> Interval:
    known = values[~np.isnan(values)]
    if not known.size:
        return Interval(float("nan"), float("nan"), float("nan"), 0)
    means = np.concatenate([weights @ known / known.size for weights in resample_weights(known.size, plan)])
    tail = 50.0 * (1.0 - plan.level)
    low, high = np.percentile(means, [tail, 100.0 - tail])
    return Interval(float(known.mean()), float(low), float(high), means.size)


def scored(scores: Sequence[Floats], right: Sequence[Floats]) -> Scored:
    """Scores and right choices as `Scored`, all float64."""
    return Scored(
        tuple(np.asarray(line, dtype=np.float64) for line in scores),
        tuple(np.asarray(line, dtype=np.float64) for line in right),
    )
