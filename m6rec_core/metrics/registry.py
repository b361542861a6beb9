"""The metrics a task's manifest may name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from m6rec_core.metrics.ranking import MetricInput, auc, gauc, log_loss
from m6rec_core.metrics.weighted import Weighted, prepare_auc, prepare_gauc, prepare_log_loss


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric. `signature` names the exact variant and is written beside every number in `metrics.json`.

    `function` maps the rows to a number, nan where it is not defined. `weighted` prepares the same metric for weighted
    rows (see `m6rec_core.metrics.weighted`); None makes the bootstrap repeat rows and call `function`, which is slow.
    """

    name: str
    function: Callable[[MetricInput], float]
    higher_is_better: bool
    signature: str
    weighted: Callable[[MetricInput], Weighted] | None = None


def _auc(data: MetricInput) -> float:
    return auc(data.label, data.score)


def _gauc(data: MetricInput) -> float:
    return float("nan") if data.user is None else gauc(data.label, data.score, data.user)[0]


def _log_loss(data: MetricInput) -> float:
    return float("nan") if data.probability is None else log_loss(data.label, data.probability)


METRICS: Mapping[str, Metric] = MappingProxyType(
    {
        "auc": Metric("auc", _auc, True, "auc|roc|ties:half|single-class:nan", prepare_auc),
        "gauc": Metric(
            "gauc", _gauc, True, "gauc|per-user|weight:impressions|users:both-classes|ties:half", prepare_gauc
        ),
        "log_loss": Metric("log_loss", _log_loss, False, "log_loss|nats|clip:1e-7", prepare_log_loss),
    }
)
"""Metric name -> Metric, immutable."""
