"""What a run leaves behind: the numbers of `metrics.json`, the predictions, the task pack."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from m6rec_core import __version__
from m6rec_core.assemble import Assembled
from m6rec_core.backbone.hf import Backbone
from m6rec_core.config import RunConfig
from m6rec_core.hookspecs import HOOK_API
from m6rec_core.model import M6Rec
from m6rec_core.registry import Task
from m6rec_core.runs import files
from m6rec_core.runs.compare import Contender
from m6rec_core.runs.data import PARTS, OwnRows, PackedPart, RunData, RunRows
from m6rec_core.runs.predictions import write_predictions
from m6rec_core.serving.distinct import KeptStates
from m6rec_core.training.loop import TrainResult
from m6rec_core.tuning.modes import MODES
from m6rec_core.tuning.pack import PackManifest, PackPlugin, pack_backbone, save_pack


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """Everything a run needs before it tunes. `data`: what the rows come from; `kept`: states computed on the way."""

    task: Task
    config: RunConfig
    rows: RunRows | OwnRows
    backbone: Backbone
    assembled: Assembled
    parts: Mapping[str, PackedPart]
    data: RunData
    kept: KeptStates = field(default_factory=KeptStates)


def record(
    prepared: Prepared, result: TrainResult, found: Mapping[str, Any], stages: Mapping[str, float]
) -> dict[str, Any]:
    """The content of `metrics.json`; `found`: the comparison or the task's own report; `stages`: seconds by stage."""
    config, spec, plan = prepared.config, prepared.backbone.spec, prepared.assembled.plan
    task = prepared.task
    return {
        "task": task.name,
        "protocol": _protocol(prepared),
        **found,
        "tuning": {"mode": config.tuning.mode, "parameters": plan.parameters, "share": plan.share, **plan.model_dump()},
        "training": {
            "steps": result.steps,
            "of": result.total_steps,
            "samples": result.samples,
            "best_step": result.best.step,
            "valid": dict(result.best.metrics),
            "stopped_early": result.stopped_early,
        },
        "backbone": {"name": spec.name, "sha256": spec.sha256, "parameters": spec.parameters},
        "versions": {"m6rec-core": __version__, task.distribution: task.version, "torch": torch.__version__},
        "seconds": {name: round(value, 2) for name, value in stages.items()},
    }


def _protocol(prepared: Prepared) -> dict[str, Any]:
    sampling, parts, rows = prepared.config.settings.sampling, prepared.parts, prepared.rows
    derived = {
        "split": sampling.split.model_dump(mode="json"),
        "history": sampling.history.model_dump(mode="json"),
        "ties": "events of equal time do not see each other",
    }
    return {
        "data": prepared.config.data,
        **(derived if isinstance(rows, RunRows) else {}),
        "rows": {
            part: {"used": parts[part].samples, "of": rows.of(part), "tokens": parts[part].tokens} for part in PARTS
        },
        "truncated_rows": sum(part.truncated_rows for part in parts.values()),
    }


def record_predictions(
    path: Path, prepared: Prepared, rows: RunRows, contenders: Sequence[Contender], cold: NDArray[np.bool_]
) -> None:
    """Write what every contender said about the test rows."""
    import pandas as pd

    table, test = rows.table, rows.rows["test"]
    samples = rows.samples("test")
    frame = pd.DataFrame(
        {
            "id": [s.id for s in samples],
            "user_id": [s.user_id for s in samples],
            "item_id": [s.candidate.item_id for s in samples],
            "timestamp": table.time[test],
            "label": table.label[test].astype(bool),
            "cold": cold,
        }
    )
    metrics, resamples = prepared.task.manifest.metrics, prepared.config.evaluation.bootstrap
    write_predictions(path, frame, contenders, prepared.task.name, metrics, resamples)


def record_pack(path: Path, prepared: Prepared, model: M6Rec, metrics: Mapping[str, Any]) -> None:
    """Write the task pack; its summary says how and on which rows it was tuned, for `m6rec evaluate` to repeat."""
    task, tuned, config = prepared.task, prepared.assembled.tuned, prepared.config
    summary = {
        "data": config.data,
        "shots": config.shots,
        "seed": config.training.seed,
        "precision": config.training.precision,
        "pack_tokens": config.training.pack_tokens,
        "training": metrics["training"],
        "seconds": metrics["seconds"],
    }
    manifest = PackManifest(
        task=task.name,
        hook_api=HOOK_API,
        backbone=pack_backbone(prepared.backbone.spec),
        plugin=PackPlugin(distribution=task.distribution, version=task.version),
        settings=tuned.config.model_dump(mode="json"),
        tuning=config.tuning,
        plan=prepared.assembled.plan,
        summary=files.finite(summary),
    )
    state = prepared.backbone.state_dict() if MODES[config.tuning.mode].backbone else None
    save_pack(path, tuned.tuning, tuned.head, manifest, backbone_state=state, overwrite=True)
