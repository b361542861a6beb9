"""Rows computed on many ranks, put back in the order of the data set, each exactly once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from m6rec_core.errors import RunError

if TYPE_CHECKING:
    from accelerate import Accelerator
    from torch import Tensor


def gather_rows(accelerator: Accelerator, index: Tensor, values: Tensor, total: int) -> Tensor:
    """Collect the rows of all ranks. Every rank must call it, with any number of rows, also none.

    Args:
        accelerator: the run's.
        index: [n] integers, the place of each local row in the whole data set, 0 <= index < total.
        values: [n, K] or [n], one row of numbers per place, K and type the same on every rank.
        total: how many rows there must be.

    Returns:
        [total, K] (or [total]) on the CPU, on every rank, in the type of `values`. Of rows that occur more than once (a
        loader padding the last batch) the first of the lowest rank is kept.

    Raises:
        RunError: when a row is missing or lies outside of 0 .. total-1, naming the first such row.
    """
    if index.shape != values.shape[:1]:
        raise RunError(f"{index.numel()} row numbers for values of shape {tuple(values.shape)}: give one per row")
    places = index.to(accelerator.device, torch.int64)
    rows = values.detach().to(accelerator.device)
    if accelerator.num_processes > 1:
        places = accelerator.gather(accelerator.pad_across_processes(places, pad_index=-1).contiguous())
        rows = accelerator.gather(accelerator.pad_across_processes(rows).contiguous())
        rows, places = rows[places != -1], places[places != -1]
    return in_order(places.cpu(), rows.cpu(), total)


def in_order(places: Tensor, rows: Tensor, total: int) -> Tensor:
    """Return rows [total, ..] sorted by place [n], the first of each place; see `gather_rows` for the errors."""
    outside = places[(places < 0) | (places >= total)]
    if outside.numel():
        raise RunError(f"row {int(outside[0])} is outside of the {total} rows that were to be predicted")
    first = torch.full((total,), len(places), dtype=torch.int64)
    first.scatter_reduce_(0, places, torch.arange(len(places)), "amin")
    missing = torch.nonzero(first == len(places)).flatten()
    if missing.numel():
        raise RunError(
            f"{missing.numel()} of {total} rows have no prediction, the first is row {int(missing[0])}: "
            "every row must be given to exactly one rank"
        )
    return rows[first]
