"""The protocol of tasks with one label and one score per sample: metrics, baselines, intervals."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from m6rec_core.metrics import METRICS, MetricInput
from m6rec_core.model import M6Rec
from m6rec_core.runs.baselines import baseline_names, run_baselines, valid_references
from m6rec_core.runs.compare import Contender, compare
from m6rec_core.runs.data import RunRows
from m6rec_core.runs.found import Clock, Found
from m6rec_core.runs.progress import counting
from m6rec_core.runs.record import Prepared, record_predictions
from m6rec_core.runs.report import comparison_table
from m6rec_core.serving.scoring import own_packs, score_columns, score_packs
from m6rec_core.training.loop import EvaluateFn
from m6rec_core.types import TaskManifest

if TYPE_CHECKING:
    from accelerate import Accelerator

SCORE = "m6rec"


def validator(prepared: Prepared, rows: RunRows, model: M6Rec, accelerator: Accelerator) -> EvaluateFn:
    """The task's metrics on the valid part; the first decides."""
    task = prepared.task
    metric = METRICS[task.manifest.metrics[0]]
    label = rows.table.label[rows.rows["valid"]]
    user = rows.table.user[rows.rows["valid"]]

    def evaluate() -> dict[str, float]:
        packs = prepared.parts["valid"].packs
        score = score_packs(model, task.name, packs, [task.manifest.score_field], accelerator)[:, 0]
        values = _valid_metrics(task.manifest.metrics, label, score, user)
        first = values[metric.name]
        return {"objective": first if metric.higher_is_better else -first, **values}

    return evaluate


def _valid_metrics(
    names: Sequence[str], label: NDArray[np.float64], score: NDArray[np.float64], user: NDArray[np.int64]
) -> dict[str, float]:
    data = MetricInput(label, score, score, user)
    return {name: METRICS[name].function(data) for name in names}


def find(
    prepared: Prepared,
    rows: RunRows,
    model: M6Rec,
    accelerator: Accelerator,
    clock: Clock,
    shown: bool,
    say: Callable[[str], None],
) -> Found | None:
    """Score the test rows on all processes and compare with the baselines on the main one (None elsewhere)."""
    with clock.stage("score"):
        scores = score_test(prepared, model, accelerator, shown)
    if not accelerator.is_main_process:
        return None
    config, manifest = prepared.config, prepared.task.manifest
    with clock.stage("baselines"):
        names = baseline_names(manifest, config.evaluation.baselines)
        baselines = run_baselines(rows, names, config.training.seed, say)
    with clock.stage("report"):
        test = rows.rows["test"]
        cold = rows.table.cold(test, config.evaluation.cold_below)
        everyone = [*contenders_of(manifest, scores), *baselines]
        comparison = compare(
            everyone[0], everyone[1:], rows.table.label[test], rows.table.user[test], cold, manifest.metrics,
            config.evaluation.bootstrap,
        )  # fmt: skip
        return Found(
            tables=(comparison_table(comparison),),
            facts=(),
            metrics={"comparison": comparison.as_json()},
            first_metric=manifest.metrics[0],
            references=valid_references(rows, manifest, config.training.seed),
            write_predictions=lambda path: record_predictions(path, prepared, rows, everyone, cold),
        )


def score_test(prepared: Prepared, model: M6Rec, accelerator: Accelerator, shown: bool) -> NDArray[np.float64]:
    """Scores [n, len(score_columns)] of the test rows, on every process."""
    packs = prepared.parts["test"].packs
    fields = list(score_columns(prepared.task.manifest).values())
    share = sum(pack.samples for pack in own_packs(packs, accelerator))
    group = accelerator.num_processes
    title = "scoring test rows" if group == 1 else f"scoring test rows (first of {group} processes)"
    with counting(title, share, shown) as tick:
        return score_packs(model, prepared.task.name, packs, fields, accelerator, tick=tick)


def contenders_of(manifest: TaskManifest, scores: NDArray[np.float64]) -> list[Contender]:
    """The model and its variants from scores [n, len(score_columns)]."""
    names = [SCORE if not name else f"{SCORE}, {name}" for name in score_columns(manifest)]
    return [Contender(name, scores[:, i], scores[:, i], {}) for i, name in enumerate(names)]
