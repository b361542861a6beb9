"""The comparison models of a run: the task's trivial ones, and those other packages offer."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from m6rec_core.baselines import TRIVIAL, Baseline, BaselineData, baseline_data
from m6rec_core.baselines.data import IntArray
from m6rec_core.errors import ConfigError, M6RecError, RegistryError
from m6rec_core.metrics import METRICS, MetricInput
from m6rec_core.registry import discover, load_entry
from m6rec_core.runs.compare import Contender
from m6rec_core.runs.data import RunRows
from m6rec_core.types import TaskManifest

GROUP = "m6rec.baselines"


def baseline_names(manifest: TaskManifest, asked: Sequence[str] | None) -> list[str]:
    """The names to run: those asked for, or the task's own and every installed one that is ready."""
    ready = [entry.name for entry in discover(GROUP) if entry.state == "ready"]
    installed = [name for name in ready if name not in TRIVIAL]  # the core's own are never replaced
    if asked is None:
        return [*manifest.baselines, *installed]
    unknown = [name for name in asked if name not in TRIVIAL and name not in installed]
    if unknown:
        known = ", ".join([*TRIVIAL, *installed])
        raise ConfigError(f"evaluation.baselines: there is no baseline {unknown[0]!r} (there are: {known})")
    return list(asked)


def run_baselines(rows: RunRows, names: Sequence[str], seed: int, say: Callable[[str], None]) -> list[Contender]:
    """Fit and score each baseline on the run's own rows. An installed one that fails is reported and left out."""
    data, (train, valid, test) = _data(rows, "train", "valid", "test")
    found: list[Contender] = []
    for name in names:
        try:
            result = _load(name).fit_predict(data, train, valid, test, seed)
        except Exception as error:
            # Another package's comparison must not cost a run its result, whatever goes wrong in it.
            if name in TRIVIAL:
                raise
            reason = error if isinstance(error, M6RecError) else f"{type(error).__name__}: {error}"
            say(f"baseline {name} is left out: {' '.join(str(reason).split())}")
            continue
        found.append(Contender(name, result.score, result.probability, dict(result.info)))
    return found


def valid_references(rows: RunRows, manifest: TaskManifest, seed: int) -> dict[str, float]:
    """The task's first metric of its trivial baselines on the valid rows, for the learning curve (not random's)."""
    data, (train, valid) = _data(rows, "train", "valid")
    metric = METRICS[manifest.metrics[0]]
    found = {}
    for name in manifest.baselines:
        if name != "random" and name in TRIVIAL:
            result = TRIVIAL[name].fit_predict(data, train, valid, valid, seed)
            answers = MetricInput(data.label[valid], result.score, result.probability, data.user[valid])
            found[name] = metric.function(answers)
    return found


def _data(rows: RunRows, *parts: str) -> tuple[BaselineData, list[IntArray]]:
    """The rows of the parts that the run uses, and where each part's rows are among them."""
    used = np.unique(np.concatenate([rows.rows[part] for part in parts]))
    return baseline_data(rows.table, used), [np.searchsorted(used, rows.rows[part]).astype(np.int64) for part in parts]


def _load(name: str) -> Baseline:
    if name in TRIVIAL:
        return TRIVIAL[name]
    value = load_entry(GROUP, name)
    if not isinstance(value, Baseline):
        raise RegistryError(
            f"baseline {name!r}: {type(value).__name__} has no fit_predict; see docs/writing-a-plugin.md"
        )
    return value
