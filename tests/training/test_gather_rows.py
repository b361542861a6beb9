from __future__ import annotations

import pytest
import torch
from accelerate import Accelerator
from hypothesis import given
from hypothesis import strategies as st

from m6rec_core.errors import RunError
from m6rec_core.training.gather import gather_rows, in_order


@given(order=st.permutations(range(7)), repeats=st.lists(st.integers(0, 6), max_size=4))
def test_rows_come_back_in_order_and_once(order: list[int], repeats: list[int]) -> None:
    places = torch.tensor([*order, *repeats])
    rows = torch.stack([places.double(), torch.arange(len(places)).double()], 1)
    found = in_order(places, rows, 7)
    assert found[:, 0].tolist() == list(range(7))
    assert found[:, 1].tolist() == [order.index(place) for place in range(7)]


def test_missing_and_foreign_rows_are_errors() -> None:
    accelerator = Accelerator(cpu=True)
    with pytest.raises(RunError, match="2 of 5 rows have no prediction, the first is row 1"):
        gather_rows(accelerator, torch.tensor([0, 2, 4]), torch.ones(3), 5)
    with pytest.raises(RunError, match="row 5 is outside of the 5 rows"):
        gather_rows(accelerator, torch.tensor([0, 5]), torch.ones(2), 5)
    with pytest.raises(RunError, match="give one per row"):
        gather_rows(accelerator, torch.tensor([0, 1]), torch.ones(3), 3)


def test_no_rows_and_vectors_keep_their_shape() -> None:
    accelerator = Accelerator(cpu=True)
    assert gather_rows(accelerator, torch.zeros(0, dtype=torch.int64), torch.zeros(0, 3), 0).shape == (0, 3)
    assert gather_rows(accelerator, torch.tensor([1, 0]), torch.tensor([5.0, 6.0]), 2).tolist() == [6.0, 5.0]
