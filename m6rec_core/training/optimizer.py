"""AdamW over the trainable parameters only, and its state as plain named tensors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch

from m6rec_core.errors import RunError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from m6rec_core.config import TrainingConfig

SOFT_NAMES = frozenset({"prompts", "options", "embeddings"})
"""Last parts of the names of trainable input embeddings: soft prompts, soft options and markers."""
MOMENTS = ("step", "exp_avg", "exp_avg_sq")


def trainable(model: nn.Module) -> dict[str, nn.Parameter]:
    """Return the parameters that train, by name, in the model's own order (a shared parameter once).

    Raises:
        RunError: when nothing trains.
    """
    found = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    if not found:
        raise RunError("the model has no trainable parameters: choose another --tuning mode")
    return found


def is_soft(name: str) -> bool:
    """Say whether a parameter is an input embedding (prompt, option, marker), going by the last part of its name."""
    return name.rpartition(".")[2] in SOFT_NAMES


def parameter_groups(parameters: Mapping[str, nn.Parameter], config: TrainingConfig) -> list[dict[str, Any]]:
    """Sort parameters into groups by learning rate and weight decay; empty groups are left out.

    Input embeddings learn with `prompt_lr` where it is given. They do not decay, because zero is no natural place for
    an embedding; neither does anything of fewer than two dimensions (biases, norms, the adapters' lambda).
    `base_lr` holds the rate that the schedule multiplies.
    """
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in parameters.items():
        soft = is_soft(name)
        lr = config.prompt_lr if soft and config.prompt_lr is not None else config.lr
        decay = 0.0 if soft or parameter.ndim < 2 else config.weight_decay
        groups.setdefault((lr, decay), []).append(parameter)
    return [
        {"params": members, "lr": lr, "base_lr": lr, "weight_decay": decay} for (lr, decay), members in groups.items()
    ]


def make_optimizer(parameters: Mapping[str, nn.Parameter], config: TrainingConfig) -> torch.optim.AdamW:
    """Return AdamW (betas .9 and .999) over `parameter_groups`."""
    return torch.optim.AdamW(parameter_groups(parameters, config), lr=config.lr, weight_decay=config.weight_decay)


def set_rate(optimizer: torch.optim.Optimizer, factor: float) -> None:
    """Multiply every group's base learning rate with `factor` and make that its current rate."""
    for group in optimizer.param_groups:
        group["lr"] = group["base_lr"] * factor


def moments(optimizer: torch.optim.Optimizer, parameters: Mapping[str, nn.Parameter]) -> dict[str, Tensor]:
    """Return CPU copies of the optimiser's state, named "<moment>/<parameter>"; parameters never used have none."""
    return {
        f"{moment}/{name}": copy_of(optimizer.state[parameter][moment])
        for name, parameter in parameters.items()
        for moment in MOMENTS
        if parameter in optimizer.state
    }


def restore_moments(
    optimizer: torch.optim.Optimizer, parameters: Mapping[str, nn.Parameter], tensors: Mapping[str, Tensor]
) -> None:
    """Put back what `moments` returned. AdamW keeps its step counter on the CPU, the moments beside the parameter."""
    for name, parameter in parameters.items():
        if f"step/{name}" not in tensors:
            continue
        optimizer.state[parameter] = {
            moment: tensors[f"{moment}/{name}"].to("cpu" if moment == "step" else parameter.device, copy=True)
            for moment in MOMENTS
        }


def copy_of(tensor: Tensor) -> Tensor:
    """Return a contiguous copy on the CPU, without gradient, that shares no memory."""
    return tensor.detach().to("cpu", copy=True).contiguous()


def snapshot(parameters: Mapping[str, nn.Parameter]) -> dict[str, Tensor]:
    """Return copies on the CPU of all parameters, by name."""
    return {name: copy_of(parameter) for name, parameter in parameters.items()}


def restore(parameters: Mapping[str, nn.Parameter], tensors: Mapping[str, Tensor]) -> None:
    """Overwrite the parameters with the tensors of `snapshot`."""
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(tensors[name])
