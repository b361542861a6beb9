"""Stage `metrics`: how good predictions are, and how sure we are of it. Pure functions over numpy arrays."""

from m6rec_core.metrics.bootstrap import Bootstrap, Interval, bootstrap_interval, bootstrap_intervals, paired_difference
from m6rec_core.metrics.ranking import MetricInput, auc, gauc, log_loss
from m6rec_core.metrics.registry import METRICS, Metric

__all__ = [
    "METRICS",
    "Bootstrap",
    "Interval",
    "Metric",
    "MetricInput",
    "auc",
    "bootstrap_interval",
    "bootstrap_intervals",
    "gauc",
    "log_loss",
    "paired_difference",
]
