"""`m6rec run`: the stages of a run in order. Each stage is a function of what came before; files are written whole."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from m6rec_core.assemble import assemble
from m6rec_core.backbone.load import load_backbone
from m6rec_core.backbone.precision import name_of, resolve
from m6rec_core.config import RunConfig
from m6rec_core.decoding.writing import writer
from m6rec_core.late.cache import SegmentCache
from m6rec_core.model import M6Rec
from m6rec_core.registry import Task
from m6rec_core.runs import files, reported, scored
from m6rec_core.runs.checks import check_scored
from m6rec_core.runs.data import PARTS, RunData, RunRows, choose_rows, pack_part
from m6rec_core.runs.found import Clock, Found
from m6rec_core.runs.progress import say_line, silent
from m6rec_core.runs.record import Prepared, record, record_pack
from m6rec_core.runs.report import plot_curve, print_tables
from m6rec_core.runs.segments import attach_cache, describe_counts
from m6rec_core.runs.settings import to_yaml
from m6rec_core.runs.start import fit_start
from m6rec_core.runs.teaching import attach_teacher
from m6rec_core.tokens.batching import collate
from m6rec_core.training.checkpoint import FOLDER, checkpoints
from m6rec_core.training.loop import EvaluateFn, TrainResult, train
from m6rec_core.training.progress import make_progress
from m6rec_core.tuning.modes import MODES
from m6rec_core.tuning.pack import round_to_pack
from m6rec_core.types import PreparedHead, ReportTable

if TYPE_CHECKING:
    from accelerate import Accelerator

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """What a run ends with; `metrics` is what `metrics.json` holds, `tables` and `facts` are for people."""

    tables: tuple[ReportTable, ...]
    facts: tuple[tuple[str, str], ...]
    metrics: Mapping[str, Any]
    output: Path


def run(
    task: Task,
    config: RunConfig,
    data: RunData,
    accelerator: Accelerator,
    output: Path,
    resume: bool,
    clock: Clock,
    quiet: bool = False,
) -> Outcome | None:
    """Run everything; returns the outcome on the main process and None on the others. `quiet`: no progress."""
    main = accelerator.is_main_process
    shown = main and not quiet
    say = say_line if shown else silent
    prepared = prepare(task, config, data, accelerator, clock, say)
    if main:
        files.write_text(output / files.CONFIG, to_yaml(prepared.config))
    for line in describe(prepared):
        say(line)
    model = M6Rec(prepared.backbone, {task.name: prepared.assembled.tuned}, writer)
    with clock.stage("segments"):
        cache = attach_cache(prepared, model, shown, say)
    if config.tuning.teacher is not None:
        with clock.stage("teacher"):
            attach_teacher(prepared, model, accelerator, shown, say)
    resumed = resume and bool(checkpoints(output / FOLDER))  # a checkpoint holds the fitted options already
    if prepared.parts["train"].samples and not resumed:
        with clock.stage("start"):
            fit_start(prepared, model, accelerator, shown)
    with clock.stage("tune"):
        result = tune(prepared, model, accelerator, output, resume, shown)
    round_to_pack(model.tunings, model.heads)
    found = find(prepared, model, accelerator, output, clock, shown, say)
    if not main or found is None:
        return None
    with clock.stage("report"):
        return _finish(prepared, model, result, _with_cache(found, cache), output, clock)


def _with_cache(found: Found, cache: SegmentCache | None) -> Found:
    """The result with what the segment cache did, where there was one."""
    if cache is None:
        return found
    counts = cache.counts()
    return replace(
        found,
        facts=(*found.facts, ("segments", describe_counts(counts))),
        metrics={**found.metrics, "segment_cache": counts.as_json()},
    )


def prepare(
    task: Task, config: RunConfig, data: RunData, accelerator: Accelerator, clock: Clock, say: Say = lambda _line: None
) -> Prepared:
    """Choose the rows, load the backbone, put the task together and pack its samples."""
    with clock.stage("samples"):
        rows = choose_rows(task, config, data)
        if isinstance(rows, RunRows):
            check_scored(task.manifest, config, rows)
    dtype = _same_on_all(resolve(config.training.precision, accelerator.device), accelerator)
    if MODES[config.tuning.mode].backbone and dtype is torch.bfloat16:
        dtype = torch.float32  # weights that train need the small updates bf16 rounds away
    config = config.model_copy(update={"training": config.training.model_copy(update={"precision": name_of(dtype)})})
    with clock.stage("backbone"), accelerator.main_process_first():
        backbone = load_backbone(config.backbone, dtype, accelerator.device, say)
    with clock.stage("text"):
        assembled = assemble(task, config.settings, config.tuning, backbone, config.training.seed)
        samples = {part: rows.samples(part) for part in PARTS}
        if isinstance(assembled.tuned.head, PreparedHead) and samples["train"]:
            assembled.tuned.head.prepare(samples["train"])
        budget = config.training.pack_tokens
        # Rows of a task's own protocol are answered for, not scored pack by pack; only steps need their packs.
        whole = set(PARTS) if isinstance(rows, RunRows) else {"train"} if config.training.max_steps != 0 else set()
        parts = {
            part: pack_part(task.name, assembled, samples[part], backbone, budget, part in whole) for part in PARTS
        }
    return Prepared(task, config, rows, backbone, assembled, parts, data)


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
    parts = prepared.parts
    fewer = parts["train"].samples < rows.of("train")
    used = ", ".join(f"{part} {parts[part].samples:,} of {rows.of(part):,}" for part in PARTS)
    lengths = ", ".join(
        f"{part} {parts[part].tokens / parts[part].samples:.1f} per row" for part in PARTS if parts[part].samples
    )
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
    prepared: Prepared,
    model: M6Rec,
    accelerator: Accelerator,
    output: Path,
    resume: bool,
    shown: bool,
    evaluate: EvaluateFn | None = None,
) -> TrainResult:
    """Train on the training part, choosing by the task's first metric on the valid part; see `training.loop.train`.

    `evaluate` None: that of the task's protocol.
    """
    task, config = prepared.task, prepared.config
    evaluate = evaluate or validator(prepared, model, accelerator, output, shown)
    vocabulary = prepared.backbone.spec.vocabulary
    training = config.training
    if training.packs_per_forward is None and model.segments is not None:
        most = packs_from_cache(accelerator.device)
        training = training.model_copy(update={"packs_per_forward": min(training.packs_per_step, most)})
    if not prepared.parts["train"].samples:
        training = training.model_copy(update={"max_steps": 0})  # --shots 0: the untuned start is the result
    rows = prepared.rows
    told = shown and (isinstance(rows, RunRows) or not reported.unchosen(prepared, rows))
    return train(
        model, prepared.parts["train"].packs, evaluate, training,
        collate=lambda packs: collate(packs, vocabulary), accelerator=accelerator, output=output, resume=resume,
        progress=make_progress(told), tasks={task.name: 1.0}, fingerprint=_fingerprint(prepared, model),
    )  # fmt: skip


def packs_from_cache(device: torch.device) -> int:
    """How many packs go through one forward in tuning from the segment cache, where the settings do not say.

    A CPU is fastest while a forward's numbers stay near it (docs/experiments/late.md).
    """
    return 2 if device.type == "cpu" else 8


def _fingerprint(prepared: Prepared, model: M6Rec) -> dict[str, str]:
    spec, config = prepared.backbone.spec, prepared.config
    taught = [teacher.key for teacher in model.teachers.values()]
    return {
        "what the teacher says": " ".join(taught),
        "backbone": spec.sha256,
        "task": f"{prepared.task.name} {prepared.task.version}",
        "settings": config.settings.model_dump_json(),
        "tuning": config.tuning.model_dump_json(),
        "data": config.data,
        "shots": str(config.shots),
    }


def validator(prepared: Prepared, model: M6Rec, accelerator: Accelerator, output: Path, shown: bool) -> EvaluateFn:
    """What the tuning calls to choose its best step."""
    if isinstance(prepared.rows, RunRows):
        return scored.validator(prepared, prepared.rows, model, accelerator)
    return reported.validator(prepared, prepared.rows, model, accelerator, output, shown)


def find(
    prepared: Prepared, model: M6Rec, accelerator: Accelerator, output: Path, clock: Clock, shown: bool, say: Say
) -> Found | None:
    """The result on the test part, by the task's protocol; None off the main process."""
    if isinstance(prepared.rows, RunRows):
        return scored.find(prepared, prepared.rows, model, accelerator, clock, shown, say)
    return reported.find(prepared, prepared.rows, model, accelerator, output, clock, shown)


def _finish(prepared: Prepared, model: M6Rec, result: TrainResult, found: Found, output: Path, clock: Clock) -> Outcome:
    """Write every file, and leave `metrics.json` for last: it marks the run as finished."""
    metrics = record(prepared, result, found.metrics, clock.stages)
    found.write_predictions(output / files.PREDICTIONS)
    if result.total_steps:
        plot_curve(result.history, output / files.CURVE, found.references, found.first_metric)
    record_pack(output / files.PACK, prepared, model, metrics)
    files.write_json(output / files.METRICS, metrics)
    facts = (*found.facts, *_facts(metrics), ("files", str(output)))
    return Outcome(found.tables, facts, metrics, output)


def _facts(metrics: Mapping[str, Any]) -> list[tuple[str, str]]:
    protocol, tuning, training = metrics["protocol"], metrics["tuning"], metrics["training"]
    rows = protocol["rows"]
    used = ", ".join(f"{part} {rows[part]['used']:,} of {rows[part]['of']:,}" for part in PARTS)
    split = f", {protocol['split']['kind']} split, {protocol['ties']}" if "split" in protocol else ""
    tuned = f"{tuning['parameters']:,} parameters ({tuning['share']:.2%}), {tuning['mode']}"
    steps = f", best after step {training['best_step']} of {training['of']}" if training["of"] else ", not trained"
    return [("protocol", f"{protocol['data']}{split}; rows {used}"), ("tuned", tuned + steps)]


def show(outcome: Outcome) -> None:
    """Print the report of a finished run."""
    print_tables(outcome.tables, outcome.facts, outcome.metrics["seconds"])
