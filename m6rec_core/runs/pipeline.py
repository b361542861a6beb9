"""`m6rec run`: the stages of a run in order. Each stage is a function of what came before; files are written once, whole."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from m6rec_core import __version__
from m6rec_core.assemble import Assembled, assemble
from m6rec_core.backbone.hf import Backbone
from m6rec_core.backbone.load import load_backbone
from m6rec_core.backbone.precision import name_of, resolve
from m6rec_core.config import RunConfig
from m6rec_core.hookspecs import HOOK_API
from m6rec_core.logs.schema import Logs
from m6rec_core.metrics import METRICS, MetricInput
from m6rec_core.model import M6Rec
from m6rec_core.registry import Task
from m6rec_core.runs import files
from m6rec_core.runs.baselines import baseline_names, run_baselines
from m6rec_core.runs.compare import Comparison, Contender, compare
from m6rec_core.runs.data import PARTS, PackedPart, RunRows, choose_rows, pack_part
from m6rec_core.runs.report import plot_curve, print_report
from m6rec_core.runs.scoring import score_columns, score_packs
from m6rec_core.tokens.batching import collate
from m6rec_core.training.loop import TrainResult, train
from m6rec_core.training.progress import make_progress
from m6rec_core.tuning.modes import MODES
from m6rec_core.tuning.pack import PackManifest, PackPlugin, pack_backbone, round_to_pack, save_pack
from m6rec_core.types import PreparedHead

if TYPE_CHECKING:
    from accelerate import Accelerator

SCORE = "m6rec"


@dataclass(frozen=True, slots=True)
class Clock:
    """Wall time per stage, in seconds."""

    stages: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a block under `name`."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.stages[name] = self.stages.get(name, 0.0) + time.perf_counter() - start


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """Everything a run needs before it tunes."""

    task: Task
    config: RunConfig
    rows: RunRows
    backbone: Backbone
    assembled: Assembled
    parts: Mapping[str, PackedPart]


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """What a run ends with; `metrics` is what `metrics.json` holds."""

    comparison: Comparison
    metrics: Mapping[str, Any]
    output: Path


def run(
    task: Task,
    config: RunConfig,
    logs: Logs,
    accelerator: Accelerator,
    output: Path,
    resume: bool,
    clock: Clock,
    quiet: bool = False,
) -> Outcome | None:
    """Run everything; returns the outcome on the main process and None on the others."""
    main = accelerator.is_main_process
    say = _say if main and not quiet else (lambda _line: None)
    prepared = prepare(task, config, logs, accelerator, clock, say)
    if main:
        output.mkdir(parents=True, exist_ok=True)
        files.write_text(output / files.CONFIG, _yaml(prepared.config))
    for line in describe(prepared):
        say(line)
    model = M6Rec(prepared.backbone, {task.name: prepared.assembled.tuned})
    with clock.stage("tune"):
        result = _tune(prepared, model, accelerator, output, resume, quiet)
    round_to_pack(model.tunings, model.heads)
    with clock.stage("score"):
        scores = _score_test(prepared, model, accelerator, quiet)
    if not main:
        return None
    with clock.stage("baselines"):
        contenders = run_baselines(
            prepared.rows,
            baseline_names(task.manifest, prepared.config.evaluation.baselines),
            prepared.config.training.seed,
            say,
        )
    with clock.stage("report"):
        return _finish(prepared, model, result, scores, contenders, output, clock)


def prepare(
    task: Task, config: RunConfig, logs: Logs, accelerator: Accelerator, clock: Clock, say: Any = lambda _line: None
) -> Prepared:
    """Choose the rows, load the backbone, put the task together and pack its samples."""
    with clock.stage("samples"):
        rows = choose_rows(task, config, logs)
    dtype = resolve(config.training.precision, accelerator.device)
    if MODES[config.tuning.mode].backbone and dtype is torch.bfloat16:
        dtype = torch.float32  # weights that train need the small updates bf16 rounds away
    config = config.model_copy(update={"training": config.training.model_copy(update={"precision": name_of(dtype)})})
    with clock.stage("backbone"), accelerator.main_process_first():
        backbone = load_backbone(config.backbone, dtype, accelerator.device, say)
    with clock.stage("text"):
        assembled = assemble(task, config.settings, config.tuning, backbone, config.training.seed)
        samples = {part: rows.samples(part) for part in PARTS}
        if isinstance(assembled.tuned.head, PreparedHead):
            assembled.tuned.head.prepare(samples["train"])
        budget = config.training.pack_tokens
        parts = {part: pack_part(task.name, assembled, samples[part], backbone, budget) for part in PARTS}
    return Prepared(task, config, rows, backbone, assembled, parts)


def describe(prepared: Prepared) -> list[str]:
    """What is about to happen, in a few lines."""
    config, rows = prepared.config, prepared.rows
    splits, parts = rows.table.splits, prepared.parts
    lines = [
        "rows        " + ", ".join(f"{part} {parts[part].samples:,} of {len(splits[part]):,}" for part in PARTS)
        + ("  (all training rows: --shots all)" if parts["train"].samples < len(splits["train"]) else ""),
        "tokens      " + ", ".join(f"{part} {parts[part].tokens / parts[part].samples:.1f} per row" for part in PARTS)
        + ", shared beginnings counted once",
        f"backbone    {prepared.backbone.spec.name}, {prepared.backbone.spec.parameters / 1e6:.1f} M parameters, frozen, "
        f"{config.training.precision}" if not MODES[config.tuning.mode].backbone else
        f"backbone    {prepared.backbone.spec.name}, all weights train, {config.training.precision}",
        f"tuning      {config.tuning.mode}, {prepared.assembled.plan.parameters:,} parameters "
        f"({prepared.assembled.plan.share:.2%})",
    ]  # fmt: skip
    cut = sum(part.truncated_rows for part in parts.values())
    if cut:
        dropped = sum(part.dropped_segments for part in parts.values())
        lines.append(
            f"length      {cut:,} rows were longer than {config.settings.max_tokens} tokens: {dropped:,} oldest segments left out"
        )
    return lines


def _tune(
    prepared: Prepared, model: M6Rec, accelerator: Accelerator, output: Path, resume: bool, quiet: bool
) -> TrainResult:
    task, config = prepared.task, prepared.config
    vocabulary = prepared.backbone.spec.vocabulary
    metric = METRICS[task.manifest.metrics[0]]
    label = prepared.rows.table.label[prepared.rows.rows["valid"]]
    user = prepared.rows.table.user[prepared.rows.rows["valid"]]

    def evaluate() -> dict[str, float]:
        packs = prepared.parts["valid"].packs
        score = score_packs(model, task.name, packs, [task.manifest.score_field], accelerator)[:, 0]
        values = _valid_metrics(task.manifest.metrics, label, score, user)
        first = values[metric.name]
        return {"objective": first if metric.higher_is_better else -first, **values}

    return train(
        model, prepared.parts["train"].packs, evaluate, config.training,
        collate=lambda packs: collate(packs, vocabulary), accelerator=accelerator, output=output, resume=resume,
        progress=make_progress(accelerator.is_main_process and not quiet), tasks={task.name: 1.0},
        fingerprint=_fingerprint(prepared),
    )  # fmt: skip


def _valid_metrics(
    names: Sequence[str], label: NDArray[np.float64], score: NDArray[np.float64], user: NDArray[np.int64]
) -> dict[str, float]:
    data = MetricInput(label, score, score, user)
    return {name: METRICS[name].function(data) for name in names}


def _fingerprint(prepared: Prepared) -> dict[str, str]:
    spec, config = prepared.backbone.spec, prepared.config
    return {
        "backbone": spec.sha256,
        "task": f"{prepared.task.name} {prepared.task.version}",
        "settings": config.settings.model_dump_json(),
        "tuning": config.tuning.model_dump_json(),
        "data": config.data,
        "shots": str(config.shots),
    }


def _score_test(prepared: Prepared, model: M6Rec, accelerator: Accelerator, quiet: bool) -> NDArray[np.float64]:
    from m6rec_core.runs.progress import counting

    part = prepared.parts["test"]
    fields = list(score_columns(prepared.task.manifest).values())
    shown = accelerator.is_main_process and not quiet
    with counting("scoring test rows", part.samples // accelerator.num_processes, shown) as tick:
        return score_packs(model, prepared.task.name, part.packs, fields, accelerator, tick=tick)


def _finish(
    prepared: Prepared,
    model: M6Rec,
    result: TrainResult,
    scores: NDArray[np.float64],
    baselines: Sequence[Contender],
    output: Path,
    clock: Clock,
) -> Outcome:
    """Compare, write every file, and leave `metrics.json` for last: it marks the run as finished."""
    config, rows, manifest = prepared.config, prepared.rows, prepared.task.manifest
    test = rows.rows["test"]
    label, user = rows.table.label[test], rows.table.user[test]
    cold = rows.table.cold(test, config.evaluation.cold_below)
    names = [SCORE if not name else f"{SCORE}, {name}" for name in score_columns(manifest)]
    own = [Contender(name, scores[:, i], scores[:, i], {}) for i, name in enumerate(names)]
    comparison = compare(
        own[0], [*own[1:], *baselines], label, user, cold, manifest.metrics, config.evaluation.bootstrap
    )
    metrics = _record(prepared, result, comparison, clock)
    _write_predictions(output / files.PREDICTIONS, prepared, [*own, *baselines], cold)
    plot_curve(result.history, output / files.CURVE, {}, manifest.metrics[0])
    _write_pack(output / files.PACK, prepared, model, metrics)
    files.write_json(output / files.METRICS, metrics)
    return Outcome(comparison, metrics, output)


def _record(prepared: Prepared, result: TrainResult, comparison: Comparison, clock: Clock) -> dict[str, Any]:
    config, spec, plan = prepared.config, prepared.backbone.spec, prepared.assembled.plan
    splits = prepared.rows.table.splits
    return {
        "task": prepared.task.name,
        "protocol": {
            "data": config.data,
            "split": config.settings.sampling.split.model_dump(mode="json"),
            "history": config.settings.sampling.history.model_dump(mode="json"),
            "ties": "events of equal time do not see each other",
            "rows": {
                part: {"used": prepared.parts[part].samples, "of": len(splits[part]), "tokens": prepared.parts[part].tokens}
                for part in PARTS
            },
            "truncated_rows": sum(part.truncated_rows for part in prepared.parts.values()),
        },
        "comparison": comparison.as_json(),
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
        "versions": {"m6rec-core": __version__, prepared.task.distribution: prepared.task.version, "torch": torch.__version__},
        "seconds": {name: round(value, 2) for name, value in clock.stages.items()},
    }  # fmt: skip


def _write_predictions(
    path: Path, prepared: Prepared, contenders: Sequence[Contender], cold: NDArray[np.bool_]
) -> None:
    import pandas as pd

    table, test = prepared.rows.table, prepared.rows.rows["test"]
    samples = [table.sample(int(i)) for i in test]
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
    for one in contenders:
        frame[one.name] = one.probability
    with files.replacing(path) as partial:
        frame.to_parquet(partial, index=False)


def _write_pack(path: Path, prepared: Prepared, model: M6Rec, metrics: Mapping[str, Any]) -> None:
    task, tuned, config = prepared.task, prepared.assembled.tuned, prepared.config
    manifest = PackManifest(
        task=task.name,
        hook_api=HOOK_API,
        backbone=pack_backbone(prepared.backbone.spec),
        plugin=PackPlugin(distribution=task.distribution, version=task.version),
        settings=tuned.config.model_dump(mode="json"),
        tuning=config.tuning,
        plan=prepared.assembled.plan,
        summary=files.finite({"data": config.data, "training": metrics["training"], "seconds": metrics["seconds"]}),
    )
    state = prepared.backbone.state_dict() if MODES[config.tuning.mode].backbone else None
    save_pack(path, tuned.tuning, tuned.head, manifest, backbone_state=state, overwrite=True)


def show(outcome: Outcome) -> None:
    """Print the report of a finished run."""
    metrics = outcome.metrics
    protocol, tuning, training = metrics["protocol"], metrics["tuning"], metrics["training"]
    rows = protocol["rows"]
    facts = [
        ("protocol", f"{protocol['data']}, {protocol['split']['kind']} split, {protocol['ties']}; rows "
         + ", ".join(f"{part} {rows[part]['used']:,} of {rows[part]['of']:,}" for part in PARTS)),
        ("tuned", f"{tuning['parameters']:,} parameters ({tuning['share']:.2%}), {tuning['mode']}, best after step "
         f"{training['best_step']} of {training['of']}"),
        ("files", str(outcome.output)),
    ]  # fmt: skip
    print_report(outcome.comparison, facts, metrics["seconds"])


def _yaml(config: RunConfig) -> str:
    from m6rec_core.runs.settings import to_yaml

    return to_yaml(config)


def _say(line: str) -> None:
    import sys

    print(line, file=sys.stderr, flush=True)
