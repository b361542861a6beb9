"""Soft prompts and markers after the lower layers, computed once for all forwards of a step."""

from __future__ import annotations

from collections.abc import Callable, Hashable

import torch
from torch import Tensor


class SharedStates:
    """States that do not depend on a batch, and through which every forward of a step sends a gradient.

    Forwards before the last one read a copy that gathers their gradients. The last reads the states themselves and adds
    `owed()` to its loss, whose gradient is what was gathered: one backward through what made the states, and the same
    sum. Under distributed training that backward is the one that is synchronised.
    """

    def __init__(self) -> None:
        """Hold nothing yet; one object serves one step."""
        self._states: dict[Hashable, Tensor] = {}
        self._copies: dict[Hashable, Tensor] = {}
        self._last = False

    def last_forward(self) -> None:
        """Say that the next forward is the last of the step."""
        self._last = True

    def read(self, key: Hashable, compute: Callable[[], Tensor]) -> Tensor:
        """Return the states under `key`, of any shape; `compute` makes them the first time."""
        if key not in self._states:
            self._states[key] = compute()
        states = self._states[key]
        if self._last or not states.requires_grad:
            return states
        if key not in self._copies:
            exact = torch.promote_types(states.dtype, torch.float32)  # many small gradients are added up
            self._copies[key] = states.detach().to(exact, copy=True).requires_grad_()
        return self._copies[key].to(states.dtype)

    def owed(self) -> list[Tensor]:
        """One number for each of the states that other forwards than the last have read; only its gradient counts."""
        return [
            (self._states[key].to(copy.dtype) * copy.grad).sum()
            for key, copy in self._copies.items()
            if copy.grad is not None
        ]
