"""One optimiser step: the forwards of this rank, gradients summed over ranks, clipping, the update."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, Self, cast, runtime_checkable

import torch

from m6rec_core.errors import RunError
from m6rec_core.training.batch_scope import ScopedLoss, ScopedModel, Share, scoped_loss, scoped_tasks
from m6rec_core.training.objective import check_counts, scale_to_step, touch_all, weighted_sum
from m6rec_core.training.optimizer import set_rate
from m6rec_core.training.plan import Forward, PackLike, Plan, Step, deal, step_seed
from m6rec_core.training.schedule import lr_factor
from m6rec_core.tuning.sharing import SharedStates

if TYPE_CHECKING:
    from accelerate import Accelerator
    from torch import Tensor, nn

    from m6rec_core.config import TrainingConfig
    from m6rec_core.tokens.batching import Batch


@runtime_checkable
class SharingModel(Protocol):
    """A model whose forwards share states within a step; see `m6rec_core.model.M6Rec`."""

    shared: SharedStates | None


class BatchLike(Protocol):
    """What the loop must know of a batch: its number of samples, and how to move it."""

    @property
    def samples(self) -> int:
        """Number of samples over all tasks: the model returns as many losses."""

    def to(self, device: torch.device, /) -> Self:
        """Return the batch on a device."""


@dataclass(frozen=True, slots=True)
class Machine:
    """The fixed parts of a run.

    `wrapped` is `model` as the accelerator prepared it; `parameters` are those that train, by name; `tasks` are the
    weights in the objective, or None.
    """

    model: nn.Module
    wrapped: nn.Module
    parameters: Mapping[str, nn.Parameter]
    optimizer: torch.optim.Optimizer
    packs: Sequence[PackLike]
    collate: Callable[[Sequence[Any]], BatchLike]
    tasks: Mapping[str, float] | None
    config: TrainingConfig
    plan: Plan
    accelerator: Accelerator


@dataclass(frozen=True, slots=True)
class StepOutcome:
    """What one step did, over all ranks.

    `loss`: the objective before the update. `losses`: mean per named task. `grad_norm`: before clipping. `lr`: of the
    main group. `samples` and `tokens` seen.
    """

    loss: float
    losses: Mapping[str, float]
    grad_norm: float
    lr: float
    samples: int
    tokens: int


def run_step(machine: Machine, step: Step) -> StepOutcome:
    """Do one step on this rank, together with all others.

    Torch's global generators are seeded for the step, so that dropout is the same after a resume.

    Raises:
        RunError: when the loss or the gradient is not finite (before the parameters change), or memory runs out.
    """
    config, ranks = machine.config, machine.accelerator.num_processes
    members = [machine.packs[index] for index in step.packs]
    samples = sum(pack.samples for pack in members)
    torch.manual_seed(step_seed(config.seed, step.number, machine.accelerator.process_index))
    factor = lr_factor(step.number, machine.plan.steps, config.warmup, config.schedule)
    set_rate(machine.optimizer, factor)
    machine.model.train()
    machine.optimizer.zero_grad(set_to_none=True)
    try:
        sums = _gradients(machine, step, samples, ranks)
    except torch.OutOfMemoryError as error:
        raise RunError(
            f"out of device memory in step {step.number + 1} with {config.packs_per_forward or 1} packs of about "
            f"{config.pack_tokens} tokens per forward: lower --set training.packs_per_forward (same result, slower)"
        ) from error
    sums = machine.accelerator.reduce(sums, "sum").tolist()
    norm = float(machine.accelerator.clip_grad_norm_(machine.parameters.values(), config.clip_norm))
    names = sorted(machine.tasks or {})
    losses = {name: sums[1 + 2 * k] / sums[2 + 2 * k] for k, name in enumerate(names) if sums[2 + 2 * k]}
    outcome = StepOutcome(sums[0] / samples, losses, norm, config.lr * factor, samples, sum(p.tokens for p in members))
    _check_finite(outcome, step, machine.plan.steps)
    machine.optimizer.step()
    return outcome


def _gradients(machine: Machine, step: Step, samples: int, ranks: int) -> Tensor:
    """Run this rank's forwards and backwards; gradients are averaged over ranks in the last of them.

    Returns float64 [1 + 2 tasks] of this rank: the weighted sum of losses, then each task's sum and count.
    """
    accelerator = machine.accelerator
    names = sorted(machine.tasks or {})
    sums = torch.zeros(1 + 2 * len(names), dtype=torch.float64, device=accelerator.device)
    dealt = deal(step, machine.packs, machine.config.packs_per_forward or 1, ranks)
    forwards = dealt[accelerator.process_index]
    scoped = _scoped(machine, step, dealt, samples)
    if scoped is not None and accelerator.is_main_process:  # every rank has the same losses: they count once
        sums += _sums(weighted_sum(scoped.losses, machine.tasks), scoped.losses, names)
    with _sharing(machine) as shared:
        for number, forward in enumerate(forwards, start=1):
            with nullcontext() if number == len(forwards) else accelerator.no_sync(machine.wrapped):
                if number == len(forwards):
                    shared.last_forward()
                batch = _batch(machine, forward)
                pulls = scoped.pulls[number - 1] if scoped is not None else {}
                if scoped is not None:
                    _seed(machine, step, number)
                returned: Mapping[str, Tensor] = machine.wrapped(batch, pulls) if pulls else machine.wrapped(batch)
                check_counts(returned, batch.samples)
                losses = {name: rows for name, rows in returned.items() if name not in pulls}
                terms = [returned[name].sum() * ranks for name in sorted(pulls)]
                if losses:
                    total = weighted_sum(losses, machine.tasks)
                    terms.append(scale_to_step(total, samples, ranks, forward.counted))
                if number == len(forwards):
                    terms.append(touch_all(machine.parameters.values()))
                    terms.extend(shared.owed())
                accelerator.backward(torch.stack([term.to(terms[0].dtype) for term in terms]).sum())
            if forward.counted and losses:
                sums += _sums(total, losses, names).to(sums.device)
    return sums


@contextmanager
def _sharing(machine: Machine) -> Iterator[SharedStates]:
    """What the forwards of a step share meanwhile; it stays empty where the model shares nothing."""
    shared, model = SharedStates(), machine.model
    if not isinstance(model, SharingModel):
        yield shared
        return
    model.shared = shared
    try:
        yield shared
    finally:
        model.shared = None


def _batch(machine: Machine, forward: Forward) -> BatchLike:
    batch: BatchLike = machine.collate([machine.packs[index] for index in forward.packs])
    return batch.to(machine.accelerator.device)


def _scoped(machine: Machine, step: Step, dealt: Sequence[Sequence[Forward]], samples: int) -> ScopedLoss | None:
    """The losses of tasks that look across the whole step, and what to pull through this rank's forwards; None where
    the step has no row of such a task.
    """
    model, accelerator = machine.model, machine.accelerator
    if not isinstance(model, ScopedModel) or not model.batch_scope:
        return None
    whole = [
        Share(cast("Batch", machine.collate([machine.packs[index] for index in forward.packs])), rank, forward.counted)
        for rank, forwards in enumerate(dealt)
        for forward in forwards
    ]
    names = scoped_tasks(model, whole)
    if not names:
        return None
    found = []
    for number, share in enumerate([s for s in whole if s.rank == accelerator.process_index], start=1):
        _seed(machine, step, number)
        found.append(model.states(share.batch.to(accelerator.device)))
    torch.manual_seed(step_seed(machine.config.seed, step.number, -1))  # a head's own randomness, alike on all ranks
    with accelerator.no_sync(machine.wrapped):
        return scoped_loss(model, whole, names, found, machine.tasks, samples, accelerator)


def _seed(machine: Machine, step: Step, forward: int) -> None:
    """Draw the same random numbers (dropout) in both passes of a forward."""
    rank = machine.accelerator.process_index
    torch.manual_seed(step_seed(machine.config.seed, step.number, rank) + forward)


def _sums(total: Tensor, losses: Mapping[str, Tensor], names: Sequence[str]) -> Tensor:
    """Return float64 [1 + 2 tasks]: `total`, then for each task the sum and number of its losses."""
    parts = [total.detach().double()]
    for name in names:
        rows = losses[name].detach().double() if name in losses else total.new_zeros(0, dtype=torch.float64)
        parts += [rows.sum(), rows.new_tensor(float(rows.numel()))]
    return torch.stack(parts)


def _check_finite(outcome: StepOutcome, step: Step, steps: int) -> None:
    """Stop before parameters are spoilt; every rank sees the same numbers, so all stop together."""
    if math.isfinite(outcome.loss) and math.isfinite(outcome.grad_norm):
        return
    bad = [name for name, loss in outcome.losses.items() if not math.isfinite(loss)]
    where = f" of task {', '.join(bad)}" if bad else ""
    finite = math.isfinite(outcome.loss)
    what = f"gradient norm is {outcome.grad_norm}" if finite else f"loss{where} is {outcome.loss}"
    raise RunError(
        f"step {step.number + 1} of {steps} (epoch {step.epoch + 1}, learning rate {outcome.lr:.1e}): the {what}; "
        "lower --set training.lr, raise training.warmup, or set training.precision=fp32"
    )
