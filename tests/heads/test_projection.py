import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from m6rec_core.heads.projection import ContrastiveProjection


def pair(count: int) -> tuple[ContrastiveProjection, torch.Tensor, torch.Tensor]:
    torch.manual_seed(count)
    return (
        ContrastiveProjection(6, 4).double(),
        torch.randn(count, 6, dtype=torch.float64),
        torch.randn(count, 6, dtype=torch.float64),
    )


def brute_force(head: ContrastiveProjection, users: torch.Tensor, items: torch.Tensor, ids: list[int]) -> list[float]:
    x, y = head.users(users).tolist(), head.items(items).tolist()
    losses = []
    for n in range(len(x)):
        own = math.exp(sum(a * b for a, b in zip(x[n], y[n], strict=True)) / 0.07)
        rest = 0.0
        for m in range(len(y)):
            if ids[m] != ids[n]:
                rest += math.exp(sum(a * b for a, b in zip(x[n], y[m], strict=True)) / 0.07)
        losses.append(-math.log(own / (own + rest)))
    return losses


@settings(deadline=None)
@given(st.integers(1, 7))
def test_loss_of_the_paper(count):
    head, users, items = pair(count)
    expected = brute_force(head, users, items, list(range(count)))
    assert head(users, items).tolist() == pytest.approx(expected, abs=1e-9)


@settings(deadline=None)
@given(st.lists(st.integers(0, 2), min_size=1, max_size=7))
def test_the_same_item_is_never_its_own_negative(ids):
    head, users, items = pair(len(ids))
    expected = brute_force(head, users, items, ids)
    assert head(users, items, torch.tensor(ids)).tolist() == pytest.approx(expected, abs=1e-9)


def test_vectors_have_length_one_and_the_papers_width():
    head = ContrastiveProjection(6)
    assert head.users(torch.randn(3, 6)).shape == (3, 128)
    torch.testing.assert_close(head.items(torch.randn(3, 6)).norm(dim=1), torch.ones(3))


def test_users_and_items_have_their_own_matrices():
    head, users, _ = pair(3)
    assert not torch.allclose(head.users(users), head.items(users))
    assert sum(p.numel() for p in head.parameters()) == 2 * 6 * 4


def test_gradients_are_finite_with_masked_pairs():
    head, users, items = pair(4)
    head(users, items, torch.tensor([1, 1, 2, 1])).sum().backward()
    for parameter in head.parameters():
        assert parameter.grad is not None
        assert torch.isfinite(parameter.grad).all()
