from __future__ import annotations

from types import ModuleType

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from m6rec_core.errors import ConfigError, RunError
from m6rec_core.training.objective import check_counts, check_weights, scale_to_step, touch_all, weighted_sum
from m6rec_core.training.plan import Step, deal

WEIGHTS = {"first": 1.0, "second": 0.5}


def gradients(toy: ModuleType, model: torch.nn.Module, ranks: int, per_forward: int) -> dict[str, torch.Tensor]:
    """The gradient that `ranks` processes would end with: summed over forwards, averaged over ranks."""
    packs = toy.make_packs(7)
    samples = sum(pack.samples for pack in packs)
    average = {name: torch.zeros_like(p) for name, p in model.named_parameters() if p.requires_grad}
    for forwards in deal(Step(0, 0, tuple(range(len(packs)))), packs, per_forward, ranks):
        model.zero_grad()
        for forward in forwards:
            losses = model(toy.collate([packs[index] for index in forward.packs]))
            torch.autograd.backward(scale_to_step(weighted_sum(losses, WEIGHTS), samples, ranks, forward.counted))
        for name, parameter in model.named_parameters():
            if parameter.grad is not None:
                average[name] += parameter.grad / ranks
    return average


@settings(max_examples=25, deadline=None)
@given(ranks=st.integers(1, 9), per_forward=st.integers(1, 8))
def test_gradient_is_the_same_however_the_step_is_cut(toy: ModuleType, ranks: int, per_forward: int) -> None:
    model = toy.Toy()
    batch = toy.collate(toy.make_packs(7))
    losses = model(batch)
    expected = (losses["first"].sum() + 0.5 * losses["second"].sum()) / batch.samples
    model.zero_grad()
    expected.backward()
    found = gradients(toy, toy.Toy(), ranks, per_forward)
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None
            torch.testing.assert_close(found[name], parameter.grad, rtol=0, atol=1e-12)


def test_unequal_forwards_are_not_averaged() -> None:
    one, many = torch.tensor([3.0]), torch.ones(9)
    parts = [scale_to_step(weighted_sum({"t": rows}), 10, 1) for rows in (one, many)]
    assert float(sum(parts)) == pytest.approx(1.2)


def test_repeated_forward_has_no_gradient() -> None:
    loss = torch.tensor([3.0], requires_grad=True)
    torch.autograd.backward(scale_to_step(weighted_sum({"t": loss}), 10, 2, counted=False))
    assert loss.grad is not None
    assert float(loss.grad) == 0.0


def test_touching_gives_a_zero_gradient_to_each_parameter() -> None:
    parameters = [torch.nn.Parameter(torch.full((2, 3), 7.0)), torch.nn.Parameter(torch.tensor(1.0))]
    value = touch_all(parameters)
    torch.autograd.backward(value)
    assert float(value.detach()) == 0.0
    assert all(p.grad is not None and not p.grad.any() for p in parameters)


def test_empty_task_of_a_batch_counts_nothing() -> None:
    assert float(weighted_sum({"a": torch.ones(2), "b": torch.ones(0)})) == 2.0


def test_errors_name_the_task() -> None:
    with pytest.raises(RunError, match="no losses"):
        weighted_sum({})
    with pytest.raises(RunError, match=r"'a' returned losses of shape \(2, 1\)"):
        weighted_sum({"a": torch.ones(2, 1)})
    with pytest.raises(RunError, match="'a' has no weight"):
        weighted_sum({"a": torch.ones(2)}, {"b": 1.0})
    with pytest.raises(RunError, match="without samples"):
        scale_to_step(torch.tensor(1.0), 0, 1)
    with pytest.raises(RunError, match=r"returned 3 losses \(a: 2, b: 1\) for 4 samples"):
        check_counts({"a": torch.ones(2), "b": torch.ones(1)}, 4)
    with pytest.raises(ConfigError, match="'a' is -1"):
        check_weights({"a": -1.0})
    with pytest.raises(ConfigError, match="'a' is nan"):
        check_weights({"a": float("nan")})
