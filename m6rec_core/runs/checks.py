"""What can be known to fail before the backbone is loaded: it costs milliseconds, and saves the minutes until then."""

from __future__ import annotations

import math

import numpy as np

from m6rec_core.config import RunConfig
from m6rec_core.errors import DataError
from m6rec_core.metrics import METRICS, MetricInput
from m6rec_core.runs.baselines import baseline_names
from m6rec_core.runs.data import RunRows
from m6rec_core.types import TaskManifest


def check_scored(manifest: TaskManifest, config: RunConfig, rows: RunRows) -> None:
    """Raise ConfigError for a baseline that there is not, DataError for valid rows that cannot choose the best step.

    The metric is tried with equal scores: where it is not a number for those, it is for none.
    """
    baseline_names(manifest, config.evaluation.baselines)
    valid, metric = rows.rows["valid"], METRICS[manifest.metrics[0]]
    label, user = rows.table.label[valid], rows.table.user[valid]
    half = np.full(len(valid), 0.5)
    if math.isnan(metric.function(MetricInput(label, half, half, user))):
        what = "all have one label" if label.min() == label.max() else "hold no user with both labels"
        raise DataError(
            f"{config.data}: the {len(valid)} valid rows {what}, so {metric.name} cannot choose the best step; use "
            "more of them (--set evaluation.valid_rows) or another settings.sampling.label rule"
        )
