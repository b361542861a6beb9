"""The training loop: steps, evaluations, early stop, checkpoints. See `train`."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import torch
from accelerate.utils import broadcast

from m6rec_core.errors import RunError
from m6rec_core.training import checkpoint as files
from m6rec_core.training.checkpoint import Checkpoint, Evaluation, Standing
from m6rec_core.training.history import NAME, History
from m6rec_core.training.objective import check_weights
from m6rec_core.training.optimizer import make_optimizer, moments, restore, restore_moments, snapshot, trainable
from m6rec_core.training.plan import PackLike, Plan, Step, make_plan, milestones
from m6rec_core.training.progress import ProgressSink, SilentProgress, StepReport
from m6rec_core.training.step import BatchLike, Machine, StepOutcome, run_step

if TYPE_CHECKING:
    from accelerate import Accelerator
    from torch import Tensor, nn

    from m6rec_core.config import TrainingConfig

OBJECTIVE = "objective"
FREE_SETTINGS = frozenset({"trackers", "checkpoints", "packs_per_forward"})
"""Settings that may change on resume, because the result does not depend on them (packs_per_forward: to rounding)."""


class EvaluateFn(Protocol):
    """Evaluates the model as it is now, on all ranks together; the loop has put it in eval mode, without gradients.

    Returns metrics by name, the same on every rank. "objective" decides which parameters are best: higher is better.
    """

    def __call__(self) -> Mapping[str, float]:
        """Return the metrics."""


AnyPack = TypeVar("AnyPack", bound=PackLike)


@dataclass(frozen=True, slots=True)
class TrainResult:
    """What training came to; the model holds the best parameters, those after `best.step` steps.

    `steps` of `total_steps` were done (fewer when `stopped_early`), `samples` seen in `seconds` (evaluations and time
    before a resume included). `evaluations` are in order of steps, from step 0, the untuned start.
    """

    steps: int
    total_steps: int
    samples: int
    seconds: float
    best: Evaluation
    evaluations: tuple[Evaluation, ...]
    stopped_early: bool
    history: Path


@dataclass(frozen=True, slots=True)
class _Run:
    """A machine with what watches it: where results go and who is told. `history` is None off the main process."""

    machine: Machine
    evaluate: EvaluateFn
    output: Path
    fingerprint: Mapping[str, str]
    progress: ProgressSink
    history: History | None

    @property
    def checkpoints(self) -> Path:
        """The folder of the checkpoints."""
        return self.output / files.FOLDER


def train(  # noqa: PLR0913 - one call with everything named, most of it optional
    model: nn.Module,
    packs: Sequence[AnyPack],
    evaluate: EvaluateFn,
    config: TrainingConfig,
    *,
    collate: Callable[[Sequence[AnyPack]], BatchLike],
    accelerator: Accelerator,
    output: Path,
    resume: bool = False,
    progress: ProgressSink | None = None,
    tasks: Mapping[str, float] | None = None,
    fingerprint: Mapping[str, str] | None = None,
) -> TrainResult:
    """Train the parameters of `model` that require a gradient and leave the best of them in it.

    The model is evaluated before the first step and `config.evaluations` times, evenly spaced; the untuned start is a
    candidate like the others. Training ends early after `config.patience` evaluations without a new best. The same
    arguments give the same result whatever the number of ranks and `packs_per_forward`, and whether or not the run was
    killed and resumed, to rounding.

    Args:
        model: `model(batch)` -> task instance name -> one loss per sample [N]. It is moved to the accelerator's device.
        packs: the training packs, the same in the same order on every rank.
        evaluate: see `EvaluateFn`.
        config: the settings; `max_steps` 0 evaluates the untuned model only.
        collate: makes a batch of packs.
        accelerator: from `make_accelerator`; its process group is left open.
        output: folder of the run; gets history.jsonl and checkpoints/.
        resume: go on from the last checkpoint in `output`, or start over when there is none.
        progress: told of steps and evaluations, on the main process only; None for silence.
        tasks: task instance name -> weight in the objective, for separate losses in the history; None: all weigh 1.
        fingerprint: more name -> value pairs (of data, backbone, task) that must be the same on resume.

    Raises:
        RunError: nothing to train, output in use, a resume with other settings, a loss or gradient that is not finite,
            an objective that is not a number, no memory, no disk space.
        ConfigError: a task weight that makes no sense.
    """
    check_weights(tasks or {})
    plan = make_plan(len(packs), config.packs_per_step, config.epochs, config.max_steps, config.seed)
    if not packs and config.max_steps != 0:
        raise RunError("there is nothing to train on: the training part has no packs; check the split, or --shots")
    parameters = trainable(model)
    wrapped = accelerator.prepare_model(model)
    optimizer = accelerator.prepare_optimizer(make_optimizer(parameters, config))
    machine = Machine(model, wrapped, parameters, optimizer, packs, collate, tasks, config, plan, accelerator)
    marks = {**_fingerprint(machine), **(fingerprint or {})}
    standing, best = _begin(machine, output / files.FOLDER, marks, resume)
    main = accelerator.is_main_process
    history = History(output / NAME, standing.step if standing.evaluations else None) if main else None
    run = _Run(machine, evaluate, output, marks, progress if progress and main else SilentProgress(), history)
    _start_trackers(run, standing.step)
    run.progress.start(plan.steps, standing.step)
    try:
        standing, best = _train(run, standing, best)
    finally:
        run.progress.finish()
        _stop_trackers(accelerator)
        accelerator.free_memory()
    restore(parameters, best)
    return _result(standing, plan, output)


def _result(standing: Standing, plan: Plan, output: Path) -> TrainResult:
    return TrainResult(
        steps=standing.step,
        total_steps=plan.steps,
        samples=standing.samples,
        seconds=standing.seconds,
        best=standing.evaluations[standing.best],
        evaluations=standing.evaluations,
        stopped_early=standing.step < plan.steps,
        history=output / NAME,
    )


def _fingerprint(machine: Machine) -> dict[str, str]:
    """Return what must not change between a run and its resumption: settings, weights, packs and parameters."""
    marks = {
        f"training.{name}": str(value)
        for name, value in machine.config.model_dump().items()
        if name not in FREE_SETTINGS
    }
    marks |= {f"weight of task {task}": str(weight) for task, weight in (machine.tasks or {}).items()}
    packs = sha256()
    for pack in machine.packs:
        packs.update(f"{pack.rows} {pack.samples} {pack.tokens};".encode())
    shapes = sha256()
    for name, parameter in machine.parameters.items():
        shapes.update(f"{name} {tuple(parameter.shape)} {parameter.dtype};".encode())
    marks["training packs"] = f"{len(machine.packs)} ({packs.hexdigest()[:12]})"
    marks["trainable parameters"] = f"{len(machine.parameters)} ({shapes.hexdigest()[:12]})"
    return marks


def _begin(
    machine: Machine, folder: Path, marks: Mapping[str, str], resume: bool
) -> tuple[Standing, dict[str, Tensor]]:
    """Return where the run starts and the best parameters so far, with model and optimiser put in that state.

    All ranks look at the same folder, and only then may the main process write to it.
    """
    found = files.checkpoints(folder)
    used = found or (folder.parent / NAME).exists()
    machine.accelerator.wait_for_everyone()
    if used and not resume:
        raise RunError(f"{folder.parent} already holds a run: go on with --resume, or choose another --output")
    if not found:
        return Standing(), snapshot(machine.parameters)
    checkpoint = files.load_checkpoint(found[-1])
    files.check_fingerprint(found[-1], checkpoint.fingerprint, marks)
    current = files.under_prefix("parameters", checkpoint.tensors)
    restore(machine.parameters, current)
    restore_moments(machine.optimizer, machine.parameters, files.under_prefix("moments", checkpoint.tensors))
    return checkpoint.standing, files.under_prefix("best", checkpoint.tensors) or current


def _steps(plan: Plan, start: int) -> Iterator[Step]:
    """Yield the steps of a plan from number `start` on."""
    while start < plan.steps:
        steps = plan.epoch(start // plan.steps_per_epoch, start)
        yield from steps
        start += len(steps)


def _train(run: _Run, standing: Standing, best: dict[str, Tensor]) -> tuple[Standing, dict[str, Tensor]]:
    """Run from `standing` to the end; returns the last standing and the best parameters."""
    plan, config = run.machine.plan, run.machine.config
    began = time.monotonic() - standing.seconds
    evaluate_at, save_at = milestones(plan.steps, config.evaluations), milestones(plan.steps, config.checkpoints)
    if not standing.evaluations:
        standing, best = _evaluate(run, standing, best)
        _record(run, {"step": 0, "epoch": 0, "samples": 0, "seconds": time.monotonic() - began}, standing)
    if standing.finished:
        run.progress.note(f"the run had ended after step {standing.step}: nothing is left to train")
        return standing, best
    for step in _steps(plan, standing.step):
        started = time.monotonic()
        outcome = run_step(run.machine, step)
        taken = time.monotonic() - started
        standing = replace(standing, step=step.number + 1, samples=standing.samples + outcome.samples)
        if standing.step in evaluate_at:
            standing, best = _evaluate(run, standing, best)
        finished = standing.step == plan.steps or standing.stale >= config.patience
        standing = replace(standing, seconds=time.monotonic() - began, finished=finished)
        _record(run, _row(step, outcome, standing, taken), standing)
        run.progress.step(StepReport(standing.step, plan.steps, outcome.loss, outcome.lr, outcome.samples / taken))
        if standing.step in save_at or (standing.finished and save_at):
            _save(run, standing, best)
        if standing.finished:
            break
    if standing.step < plan.steps:
        run.progress.note(f"stopped early: no better than step {standing.evaluations[standing.best].step} since")
    return standing, best


def _evaluate(run: _Run, standing: Standing, best: dict[str, Tensor]) -> tuple[Standing, dict[str, Tensor]]:
    """Evaluate, and keep the parameters when they are better than all before; equal is not better.

    The decision is the main process's: ranks that disagreed in the last bit would part ways and wait for ever.
    """
    machine = run.machine
    machine.model.eval()
    with torch.no_grad():
        metrics = dict(run.evaluate())
    if OBJECTIVE not in metrics:
        raise RunError(f"the evaluation returned no {OBJECTIVE!r}, only {', '.join(sorted(metrics)) or 'nothing'}")
    device = machine.accelerator.device
    objective = float(broadcast(torch.tensor([metrics[OBJECTIVE]], dtype=torch.float64, device=device)))
    if math.isnan(objective):
        raise RunError(
            f"the valid metric after step {standing.step} is not a number: the valid rows need at least one positive "
            "and one negative; use more of them (--set evaluation.valid_rows)"
        )
    metrics[OBJECTIVE] = objective
    evaluations = (*standing.evaluations, Evaluation(standing.step, metrics))
    better = standing.best < 0 or objective > standing.evaluations[standing.best].metrics[OBJECTIVE]
    if better:
        best = snapshot(machine.parameters)
    shown = "  ".join(f"{name} {value:.4f}" for name, value in metrics.items())
    run.progress.note(f"step {standing.step}: {shown}{'  (best so far)' if better else ''}")
    return replace(
        standing,
        evaluations=evaluations,
        best=len(evaluations) - 1 if better else standing.best,
        stale=0 if better else standing.stale + 1,
    ), best


def _row(step: Step, outcome: StepOutcome, standing: Standing, taken: float) -> dict[str, Any]:
    """Return the row of the history; the fields are described in `history`."""
    return {
        "step": standing.step,
        "epoch": step.epoch,
        "samples": standing.samples,
        "loss": outcome.loss,
        "losses": dict(outcome.losses),
        "lr": outcome.lr,
        "grad_norm": outcome.grad_norm,
        "samples_per_second": outcome.samples / taken,
        "tokens_per_second": outcome.tokens / taken,
        "seconds": standing.seconds,
    }


def _record(run: _Run, row: dict[str, Any], standing: Standing) -> None:
    """Write a row to the history and the trackers, with the metrics when the model was evaluated at this step."""
    if run.history is None:
        return
    last = standing.evaluations[-1]
    if last.step == row["step"]:
        row["valid"] = dict(last.metrics)
    run.history.write(row)
    flat = {key: value for key, value in row.items() if isinstance(value, (int, float)) and key != "step"}
    for group in ("losses", "valid"):
        flat |= {f"{group}/{name}": value for name, value in row.get(group, {}).items()}
    run.machine.accelerator.log(flat, step=row["step"])


def _save(run: _Run, standing: Standing, best: dict[str, Tensor]) -> None:
    """Write a checkpoint on the main process while the others wait. The best are left out when they are these."""
    machine = run.machine
    if machine.accelerator.is_main_process:
        tensors = files.with_prefix("parameters", snapshot(machine.parameters))
        tensors |= files.with_prefix("moments", moments(machine.optimizer, machine.parameters))
        if standing.evaluations[standing.best].step != standing.step:
            tensors |= files.with_prefix("best", best)
        files.save_checkpoint(run.checkpoints, Checkpoint(standing, run.fingerprint, tensors))
    machine.accelerator.wait_for_everyone()


def _start_trackers(run: _Run, step: int) -> None:
    """Open the trackers that were asked for; on resume TensorBoard hides what was logged after the checkpoint."""
    accelerator = run.machine.accelerator
    if accelerator.log_with:
        options = {"tensorboard": {"purge_step": step + 1}} if step else {}
        accelerator.init_trackers("m6rec", init_kwargs=options)


def _stop_trackers(accelerator: Accelerator) -> None:
    """Close the trackers. `Accelerator.end_training` would also take down the process group, which is still needed."""
    for tracker in accelerator.trackers:
        tracker.finish()
    accelerator.trackers.clear()
