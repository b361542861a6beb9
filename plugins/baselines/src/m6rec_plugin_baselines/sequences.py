"""Item sequences as padded batches. Padding stands on the right, so a causal mask alone keeps it out of sight.

Shapes: B sequences of a batch, T the longest of them, M real positions in it, I items, K items with training events.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from m6rec_core.baselines.data import IntArray

POOL = 16
"""Batches cut from one pool of sequences sorted by length: little padding, and still another order each epoch."""


@dataclass(frozen=True, slots=True)
class Padded:
    """`codes` [B, T] of items, 0 in the padding; `length` [B], at least 1 each."""

    codes: Tensor
    length: Tensor

    def real(self) -> Tensor:
        """Return where there is an item, [B, T]."""
        return torch.arange(self.codes.shape[1]) < self.length[:, None]


@dataclass(frozen=True, slots=True)
class TrainingBatch:
    """Inputs and the item that followed each of them, [B, T]."""

    inputs: Padded
    target: Tensor


def pad(sequences: Sequence[IntArray]) -> Padded:
    """Return sequences of item codes side by side; an empty one becomes one padding position."""
    longest = max(1, *(len(one) for one in sequences)) if len(sequences) > 1 else max(1, len(sequences[0]))
    codes = np.zeros((len(sequences), longest), dtype=np.int64)
    for row, one in enumerate(sequences):
        codes[row, : len(one)] = one
    length = np.array([max(1, len(one)) for one in sequences], dtype=np.int64)
    return Padded(torch.from_numpy(codes), torch.from_numpy(length))


def windows(sequences: Sequence[IntArray], length: int, every: bool) -> list[IntArray]:
    """Return what is trained on: up to `length` + 1 last events of each sequence, the first of them only an input.

    With `every`, long sequences also give the windows before that, so that each event but the first is a target once.
    Sequences of fewer than 2 events give none.
    """
    found = []
    for one in sequences:
        stop = len(one)
        while stop >= 2:
            found.append(one[max(0, stop - length - 1) : stop])
            stop -= length
            if not every:
                break
    return found


def training_batches(found: Sequence[IntArray], size: int, random: np.random.Generator) -> Iterator[TrainingBatch]:
    """Yield all windows once, `size` at a time, in an order drawn from `random`."""
    order = random.permutation(len(found))
    for start in range(0, len(order), size * POOL):
        pool = order[start : start + size * POOL]
        pool = pool[np.argsort([len(found[one]) for one in pool], kind="stable")]
        batches = [pool[begin : begin + size] for begin in range(0, len(pool), size)]
        for place in random.permutation(len(batches)):
            both = pad([found[one] for one in batches[place]])
            inputs = Padded(both.codes[:, :-1], both.length - 1)
            yield TrainingBatch(inputs, both.codes[:, 1:])
