"""A loss over the whole step, from states: the gradient is that of one forward over everything."""

from __future__ import annotations

import importlib.util
import sys
from functools import partial
from pathlib import Path
from types import ModuleType

import pytest
import torch

from m6rec_core.config import TrainingConfig
from m6rec_core.tokens.batching import collate, plan_packs
from m6rec_core.training.accelerator import make_accelerator
from m6rec_core.training.batch_scope import ScopedModel
from m6rec_core.training.optimizer import make_optimizer, trainable
from m6rec_core.training.plan import Plan, Step
from m6rec_core.training.step import Machine, _gradients

WEIGHTS = {"ctr-a": 0.5, "ctr-b": 2.0}


@pytest.fixture(scope="module")
def pairs() -> ModuleType:
    """The script of tests/distributed: a task of row scope and one of batch scope on the tiny backbone, float64."""
    path = Path(__file__).parents[1] / "distributed" / "tiny_run.py"
    spec = importlib.util.spec_from_file_location("pairs_run", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def gradients(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {n: torch.zeros_like(p) if p.grad is None else p.grad.clone() for n, p in trainable(model).items()}


@pytest.mark.parametrize("per_forward", [1, 3, 99])
def test_gradient_and_sums_are_those_of_one_forward(pairs: ModuleType, per_forward: int, tmp_path: Path) -> None:
    model = pairs.build_model(pairs=True)
    packs = plan_packs(pairs.encode(model, 22, 0, True), 60)
    assert len(packs) > 5
    together = partial(collate, vocabulary=model.backbone.spec.vocabulary)
    whole = together(packs)  # one forward with the packs side by side, whose view is the whole step
    losses = model(whole)
    objective = sum(WEIGHTS[name] * rows.sum() for name, rows in losses.items()) / whole.samples
    objective.backward()
    expected = gradients(model)
    model.zero_grad(set_to_none=True)

    config = TrainingConfig(packs_per_forward=per_forward, packs_per_step=len(packs))
    parameters = trainable(model)
    machine = Machine(
        model, model, parameters, make_optimizer(parameters, config), packs, together, WEIGHTS, config,
        Plan(len(packs), len(packs), 0, 1), make_accelerator(config, tmp_path, cpu=True),
    )  # fmt: skip
    sums = _gradients(machine, Step(0, 0, tuple(range(len(packs)))), whole.samples, 1)
    found = gradients(model)
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=0, atol=1e-10, msg=lambda m, name=name: f"{name}: {m}")
    assert float(sums[0]) / whole.samples == pytest.approx(float(objective.detach()), abs=1e-10)
    for k, name in enumerate(sorted(WEIGHTS)):
        assert float(sums[1 + 2 * k]) == pytest.approx(float(losses[name].sum().detach()), abs=1e-9)
        assert int(sums[2 + 2 * k]) == 11


def test_only_some_models_and_tasks_have_batch_scope(pairs: ModuleType) -> None:
    model = pairs.build_model(pairs=True)
    assert isinstance(model, ScopedModel)
    assert model.batch_scope == {"ctr-b"}
    assert pairs.build_model().batch_scope == frozenset()
    assert not isinstance(torch.nn.Linear(2, 2), ScopedModel)
