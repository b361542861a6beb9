"""`m6rec run`: the stages of a run in order. Each stage is a function of what came before; files are written whole."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from m6rec_core.assemble import assemble
from m6rec_core.backbone.load import load_backbone
from m6rec_core.backbone.precision import name_of, resolve
from m6rec_core.config import RunConfig
from m6rec_core.logs.schema import Logs
from m6rec_core.metrics import METRICS, MetricInput
from m6rec_core.model import M6Rec
from m6rec_core.registry import Task
from m6rec_core.runs import files
from m6rec_core.runs.baselines import baseline_names, run_baselines, valid_references
from m6rec_core.runs.compare import Comparison, Contender, compare
from m6rec_core.runs.data import PARTS, choose_rows, pack_part
from m6rec_core.runs.progress import counting
from m6rec_core.runs.record import Prepared, record, record_pack, record_predictions
from m6rec_core.runs.report import plot_curve, print_report
from m6rec_core.runs.scoring import own_packs, score_columns, score_packs
from m6rec_core.runs.settings import to_yaml
from m6rec_core.runs.start import fit_start
from m6rec_core.tokens.batching import collate
from m6rec_core.training.checkpoint import FOLDER, checkpoints
from m6rec_core.training.loop import TrainResult, train
from m6rec_core.training.progress import make_progress
from m6rec_core.tuning.modes import MODES
from m6rec_core.tuning.pack import round_to_pack
from m6rec_core.types import PreparedHead, TaskManifest

if TYPE_CHECKING:
    from accelerate import Accelerator

SCORE = "m6rec"
Say = Callable[[str], None]


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
    """Run everything; returns the outcome on the main process and None on the others. `quiet`: no progress."""
    main = accelerator.is_main_process
    shown = main and not quiet
    say = say_line if shown else _silent
    prepared = prepare(task, config, logs, accelerator, clock, say)
    if main:
        files.write_text(output / files.CONFIG, to_yaml(prepared.config))
    for line in describe(prepared):
        say(line)
    model = M6Rec(prepared.backbone, {task.name: prepared.assembled.tuned})
    if not (resume and checkpoints(output / FOLDER)):  # a checkpoint holds the options already
        with clock.stage("start"):
            fit_start(prepared, model, accelerator, shown)
    with clock.stage("tune"):
        result = tune(prepared, model, accelerator, output, resume, shown)
    round_to_pack(model.tunings, model.heads)
    with clock.stage("score"):
        scores = _score_test(prepared, model, accelerator, shown)
    if not main:
        return None
    with clock.stage("baselines"):
        names = baseline_names(task.manifest, prepared.config.evaluation.baselines)
        contenders = run_baselines(prepared.rows, names, prepared.config.training.seed, say)
    with clock.stage("report"):
        return _finish(prepared, model, result, scores, contenders, output, clock)


def prepare(
    task: Task, config: RunConfig, logs: Logs, accelerator: Accelerator, clock: Clock, say: Say = lambda _line: None
) -> Prepared:
    """Choose the rows, load the backbone, put the task together and pack its samples."""
    with clock.stage("samples"):
        rows = choose_rows(task, config, logs)
    dtype = _same_on_all(resolve(config.training.precision, accelerator.device), accelerator)
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


def _same_on_all(dtype: torch.dtype, accelerator: Accelerator) -> torch.dtype:
    """The main process's measurement decides: ranks that measured differently would compute in different formats."""
    from accelerate.utils import broadcast_object_list

    found: list[torch.dtype] = [dtype]
    if accelerator.num_processes > 1:
        broadcast_object_list(found)
    return found[0]


def describe(prepared: Prepared) -> list[str]:
    """What is about to happen, in a few lines."""
    config, rows, spec = prepared.config, prepared.rows, prepared.backbone.spec
    splits, parts = rows.table.splits, prepared.parts
    fewer = parts["train"].samples < len(splits["train"])
    used = ", ".join(f"{part} {parts[part].samples:,} of {len(splits[part]):,}" for part in PARTS)
    lengths = ", ".join(f"{part} {parts[part].tokens / parts[part].samples:.1f} per row" for part in PARTS)
    frozen = "all weights train" if MODES[config.tuning.mode].backbone else "frozen"
    lines = [
        f"rows        {used}{'  (all training rows: --shots all)' if fewer else ''}",
        f"tokens      {lengths}, shared beginnings counted once",
        f"backbone    {spec.name}, {spec.parameters / 1e6:.1f} M parameters, {frozen}, {config.training.precision}",
        f"tuning      {config.tuning.mode}, {prepared.assembled.plan.parameters:,} parameters "
        f"({prepared.assembled.plan.share:.2%})",
    ]
    cut = sum(part.truncated_rows for part in parts.values())
    if cut:
        dropped = sum(part.dropped_segments for part in parts.values())
        lines.append(
            f"length      {cut:,} rows were longer than {config.settings.max_tokens} tokens: {dropped:,} oldest "
            "segments left out"
        )
    return lines


def tune(
    prepared: Prepared, model: M6Rec, accelerator: Accelerator, output: Path, resume: bool, shown: bool
) -> TrainResult:
    """Train on the training part, choosing by the task's first metric on the valid part; see `training.loop.train`."""
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
        progress=make_progress(shown), tasks={task.name: 1.0}, fingerprint=_fingerprint(prepared),
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


def _score_test(prepared: Prepared, model: M6Rec, accelerator: Accelerator, shown: bool) -> NDArray[np.float64]:
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
    cold = rows.table.cold(test, config.evaluation.cold_below)
    everyone = [*contenders_of(manifest, scores), *baselines]
    comparison = compare(
        everyone[0], everyone[1:], rows.table.label[test], rows.table.user[test], cold, manifest.metrics,
        config.evaluation.bootstrap,
    )  # fmt: skip
    metrics = record(prepared, result, comparison, clock.stages)
    record_predictions(output / files.PREDICTIONS, prepared, everyone, cold)
    first = manifest.metrics[0]
    references = valid_references(rows, manifest, config.training.seed)
    plot_curve(result.history, output / files.CURVE, references, first)
    record_pack(output / files.PACK, prepared, model, metrics)
    files.write_json(output / files.METRICS, metrics)
    return Outcome(comparison, metrics, output)


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


def say_line(line: str) -> None:
    """Tell the user one line, on standard error."""
    print(line, file=sys.stderr, flush=True)


def _silent(line: str) -> None:
    """Say nothing: a rank that is not the main process, or a run for a machine."""
