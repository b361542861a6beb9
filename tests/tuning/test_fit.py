"""Soft options in closed form: the optimum of the stated problem, whatever finds it."""

from __future__ import annotations

import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor
from torch.nn import functional

from m6rec_core.tuning.fit import PENALTY, fit_options


def problem(classes: int = 2, rows: int = 120, width: int = 6, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """States [N, D] whose class shows in them through noise, labels [N], and a start [C, D]."""
    generator = torch.Generator().manual_seed(seed)
    label = torch.arange(rows) % classes
    centres = torch.randn(classes, width, generator=generator, dtype=torch.float64)
    hidden = centres[label] + 1.5 * torch.randn(rows, width, generator=generator, dtype=torch.float64)
    return hidden, label, 0.3 * torch.randn(classes, width, generator=generator, dtype=torch.float64)


def objective(hidden: Tensor, label: Tensor, start: Tensor, options: Tensor, penalty: float) -> Tensor:
    """What is minimised; for two options the second term is penalty * |change of their difference|^2."""
    return functional.cross_entropy(hidden @ options.T, label) + 2 * penalty * (options - start).pow(2).sum()


@pytest.mark.parametrize("penalty", [0.001, PENALTY, 0.1])
def test_two_options_from_zero_are_a_logistic_regression(penalty):
    hidden, label, start = problem()
    fitted = fit_options(hidden, label, torch.zeros_like(start), penalty)
    # sklearn: |w|^2 / 2 + C * summed loss, hence |w|^2 * penalty for C = 1 / (2 N penalty).
    known = LogisticRegression(C=1 / (2 * len(label) * penalty), fit_intercept=False, tol=1e-10, max_iter=1000)
    known.fit(hidden.numpy(), label.numpy())
    difference = fitted[1] - fitted[0]
    torch.testing.assert_close(difference, torch.from_numpy(known.coef_[0]), rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(fitted[0], -fitted[1], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("classes", [2, 3, 5])
def test_nothing_near_is_better(classes):
    hidden, label, start = problem(classes)
    fitted = fit_options(hidden, label, start).requires_grad_()
    found = objective(hidden, label, start, fitted, PENALTY)
    (gradient,) = torch.autograd.grad(found, fitted)
    assert gradient.abs().max() < 2e-5
    assert found < objective(hidden, label, start, start, PENALTY)
    generator = torch.Generator().manual_seed(5)
    for size in (1e-2, 1e-1, 1.0):
        other = fitted + size * torch.randn(fitted.shape, generator=generator, dtype=torch.float64)
        assert objective(hidden, label, start, other, PENALTY) > found


def test_states_of_very_different_size_are_no_obstacle():
    """Read-out states of real backbones have a few dimensions far larger than the rest."""
    hidden, label, start = problem(rows=300, width=24)
    hidden[:, 0] = 30 + 5 * hidden[:, 0]
    fitted = fit_options(hidden, label, start).requires_grad_()
    (gradient,) = torch.autograd.grad(objective(hidden, label, start, fitted, PENALTY), fitted)
    assert gradient.abs().max() < 5e-5


def test_a_huge_penalty_holds_them_at_the_start():
    hidden, label, start = problem()
    changes = [float((fit_options(hidden, label, start, p) - start).norm()) for p in (1e-3, 1e-1, 10.0, 1e6)]
    assert changes == sorted(changes, reverse=True)
    assert changes[0] > 0.1
    assert changes[-1] < 1e-5


def test_the_sum_of_the_options_stays():
    """Softmax sees differences only, and the penalty wants no more change than they need."""
    hidden, label, start = problem(3)
    torch.testing.assert_close(fit_options(hidden, label, start).sum(0), start.sum(0), rtol=1e-6, atol=1e-7)


def test_one_class_alone_still_has_a_finite_answer():
    hidden, _, start = problem()
    fitted = fit_options(hidden, torch.ones(len(hidden), dtype=torch.int64), start)
    assert fitted.isfinite().all()
    assert (
        functional.softmax(hidden @ fitted.T, -1)[:, 1].mean() > functional.softmax(hidden @ start.T, -1)[:, 1].mean()
    )


@pytest.mark.parametrize("label", [[], [0, 2], [-1, 0]])
def test_labels_that_are_no_options_are_refused(label):
    hidden, _, start = problem()
    with pytest.raises(ValueError, match=f"{len(label)} labels for 2 options"):
        fit_options(hidden[: len(label)], torch.tensor(label, dtype=torch.int64), start)


def test_the_same_twice_and_in_any_order_of_rows():
    hidden, label, start = problem(3)
    fitted = fit_options(hidden, label, start)
    assert torch.equal(fitted, fit_options(hidden, label, start))
    order = torch.randperm(len(label), generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(fit_options(hidden[order], label[order], start), fitted, rtol=1e-5, atol=1e-6)


def test_it_answers_in_the_type_of_the_options_and_leaves_its_arguments_alone():
    hidden, label, start = problem()
    given = start.float().requires_grad_()
    kept = given.detach().clone()
    with torch.no_grad():
        fitted = fit_options(hidden.float(), label, given)
    assert fitted.dtype == torch.float32
    assert not fitted.requires_grad
    assert given.grad is None
    assert torch.equal(given, kept)
    torch.testing.assert_close(fitted.double(), fit_options(hidden, label, start), rtol=1e-4, atol=1e-5)
