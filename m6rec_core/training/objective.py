"""From one loss per sample to the one number a step minimises (design 4 and 9.4).

The objective of a step is the weighted sum of all its row losses divided by the number of samples of the whole step:

    objective = sum over tasks t of weight[t] * sum over samples i of t of loss[i]   /   samples of the step

Numerator and denominator both run over every rank and every accumulated forward, so the objective does not depend on
how the step was cut up. The means of unequal micro-batches, whose mean is something else, never occur.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import torch

from m6rec_core.errors import ConfigError, RunError

if TYPE_CHECKING:
    from torch import Tensor


def check_weights(weights: Mapping[str, float]) -> None:
    """Refuse task weights that are negative or not numbers.

    Raises:
        ConfigError: naming the task and the weight.
    """
    for task, weight in weights.items():
        if not 0.0 <= weight < float("inf"):
            raise ConfigError(f"weight of task {task!r} is {weight}: give a finite number of at least 0")


def weighted_sum(losses: Mapping[str, Tensor], weights: Mapping[str, float] | None = None) -> Tensor:
    """Add up the row losses of one forward.

    Args:
        losses: task instance name -> one loss per sample [N], any float type; N may differ per task and may be 0.
        weights: task instance name -> weight; None gives every task the weight 1.

    Returns:
        A scalar in the losses' own type, with gradient: the sum over tasks of weight times sum of losses.

    Raises:
        RunError: when there are no losses, a task has no weight, or losses are not one-dimensional.
    """
    if not losses:
        raise RunError("the model returned no losses: the batch has no rows of a known task")
    terms: list[Tensor] = []
    for task in sorted(losses):
        rows = losses[task]
        if rows.ndim != 1:
            raise RunError(f"task {task!r} returned losses of shape {tuple(rows.shape)}: return one per sample, [N]")
        if weights is not None and task not in weights:
            raise RunError(f"task {task!r} has no weight; weights are given for {', '.join(sorted(weights))}")
        terms.append(rows.sum() if weights is None else rows.sum() * weights[task])
    return torch.stack([term.to(terms[0].dtype) for term in terms]).sum()


def scale_to_step(total: Tensor, step_samples: int, ranks: int, counted: bool = True) -> Tensor:
    """Turn the summed losses of one forward into what this rank has to run `backward` on.

    DistributedDataParallel averages gradients over the ranks, so the local term is multiplied by their number; summed
    over the forwards of a step and averaged over the ranks it is the gradient of the objective.

    Args:
        total: scalar from `weighted_sum`.
        step_samples: samples of the whole step, over all ranks and accumulated forwards; at least 1.
        ranks: number of processes whose gradients are averaged.
        counted: False for a forward that only keeps this rank in time with the others; its gradient is zero.

    Raises:
        RunError: when the step has no samples.
    """
    if step_samples < 1:
        raise RunError("a step without samples has no objective: the packs of the training part are empty")
    return total * (ranks / step_samples if counted else 0.0)


def touch_all(parameters: Iterable[Tensor]) -> Tensor:
    """Return a scalar 0 whose gradient with respect to every parameter is 0.

    Added to the last forward of a step it makes every parameter take part, also those of tasks without a row in it.
    DistributedDataParallel would otherwise wait for their gradients, or have to search every graph for them; and a
    parameter moves by the same rule (its gradient is 0, not absent) however the step was cut up.
    """
    return torch.stack([parameter.sum().float() for parameter in parameters]).sum() * 0.0


def check_counts(losses: Mapping[str, Tensor], samples: int) -> None:
    """Check that a forward returned exactly one loss for each sample of its batch.

    Raises:
        RunError: naming how many losses each task returned.
    """
    found = sum(rows.numel() for rows in losses.values())
    if found != samples:
        detail = ", ".join(f"{task}: {rows.numel()}" for task, rows in sorted(losses.items()))
        raise RunError(f"the model returned {found} losses ({detail}) for {samples} samples: return one per sample")
