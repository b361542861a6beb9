"""The chunked softmax over all items against torch's own."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import cross_entropy

from m6rec_core.heads.full_softmax import full_cross_entropy


@pytest.mark.parametrize("chunk", [1, 7, 100])
def test_chunked_cross_entropy_equals_torch(chunk: int) -> None:
    torch.manual_seed(0)
    hidden = torch.randn(20, 6, dtype=torch.float64, requires_grad=True)
    items = torch.randn(11, 6, dtype=torch.float64, requires_grad=True)
    target = torch.randint(11, (20,))
    expected = torch.autograd.grad(3.0 * cross_entropy(hidden @ items.T, target), (hidden, items))
    loss = full_cross_entropy(hidden, items, target, chunk)
    found = torch.autograd.grad(3.0 * loss, (hidden, items))
    torch.testing.assert_close(loss, cross_entropy(hidden @ items.T, target))
    torch.testing.assert_close(found, expected)
