from __future__ import annotations

import pytest
import torch
from torch import nn

from m6rec_core.config import TrainingConfig
from m6rec_core.errors import RunError
from m6rec_core.training.optimizer import (
    make_optimizer,
    moments,
    parameter_groups,
    restore,
    restore_moments,
    set_rate,
    snapshot,
    trainable,
)
from m6rec_core.tuning.adapters import FfnAdapters
from m6rec_core.tuning.soft import MarkerEmbeddings, SoftPrompts
from m6rec_core.tuning.task import TaskTuning


def tuning() -> TaskTuning:
    generator = torch.Generator().manual_seed(0)
    table = torch.randn(5, 8, generator=generator)
    return TaskTuning(SoftPrompts(table[:4], 2), MarkerEmbeddings(table, True), FfnAdapters(8, 2, 0, 2, generator))


def test_embeddings_learn_at_their_own_rate_and_only_matrices_decay() -> None:
    parameters = trainable(tuning())
    groups = parameter_groups(parameters, TrainingConfig(lr=1e-3, prompt_lr=1e-1, weight_decay=0.5))
    found = {
        name: (group["lr"], group["weight_decay"])
        for group in groups
        for name, parameter in parameters.items()
        if any(parameter is member for member in group["params"])
    }
    assert found["soft.prompts"] == (1e-1, 0.0)
    assert found["marker_embeddings.embeddings"] == (1e-1, 0.0)
    assert found["adapters.layers.0.w1"] == (1e-3, 0.5)
    assert found["adapters.layers.1.w2"] == (1e-3, 0.5)
    assert {found[f"adapters.layers.0.{name}"] for name in ("b1", "b2", "scale")} == {(1e-3, 0.0)}
    assert len(found) == len(parameters) == 12


def test_input_embeddings_of_the_task_are_the_soft_group() -> None:
    task = tuning()
    groups = parameter_groups(trainable(task), TrainingConfig(lr=1e-3, prompt_lr=1e-1))
    (soft,) = (group["params"] for group in groups if group["lr"] == 1e-1)
    assert {id(p) for p in soft} == {id(p) for p in task.embedding_parameters()}


def test_rate_follows_the_schedule_in_each_group() -> None:
    optimizer = make_optimizer(trainable(tuning()), TrainingConfig(lr=1e-3, prompt_lr=1e-1))
    set_rate(optimizer, 0.5)
    set_rate(optimizer, 0.1)
    assert {group["lr"] for group in optimizer.param_groups} == {1e-3 * 0.1, 1e-1 * 0.1}


def test_frozen_parameters_are_left_out() -> None:
    model = nn.Linear(2, 2)
    model.weight.requires_grad_(False)
    assert list(trainable(model)) == ["bias"]
    model.bias.requires_grad_(False)
    with pytest.raises(RunError, match="no trainable parameters"):
        trainable(model)


def test_state_round_trip_continues_with_the_same_bits() -> None:
    def step(model: nn.Module, optimizer: torch.optim.Optimizer, number: int) -> None:
        optimizer.zero_grad()
        torch.manual_seed(number)
        model(torch.randn(4, 3)).square().sum().backward()
        optimizer.step()

    torch.manual_seed(0)
    model = nn.Linear(3, 2)
    optimizer = make_optimizer(trainable(model), TrainingConfig())
    for number in range(3):
        step(model, optimizer, number)
    other = nn.Linear(3, 2)
    again = make_optimizer(trainable(other), TrainingConfig())
    restore(trainable(other), snapshot(trainable(model)))
    restore_moments(again, trainable(other), moments(optimizer, trainable(model)))
    step(model, optimizer, 3)
    step(other, again, 3)
    assert torch.equal(model.weight, other.weight)
    assert torch.equal(model.bias, other.bias)
