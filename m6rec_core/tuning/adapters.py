"""Low-rank adapters beside the feed-forward networks (paper 3.4), or on the input of the attention.

FFN'(Z) = FFN(Z) + lambda * [gelu(Z W1 + b1) W2 + b2], with W1 [D, r] and W2 [r, D]; in front of the attention the same
term is added to Z, a low-rank change of the weights of queries, keys and values at once.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional


class FfnAdapter(nn.Module):
    """What one layer's adapter adds to its FFN. Float32 parameters; W2 and b2 start at zero, so it starts by adding 0.

    It computes in the dtype of its input (bf16 over a bf16 backbone is what a CPU is fast at) with the float32
    parameters rounded on the way in, and gradients return to the float32 parameters.
    """

    def __init__(self, hidden: int, rank: int, generator: torch.Generator) -> None:
        """Build an adapter of `rank` r for a hidden width D; W1 is normal with variance 1 / D."""
        super().__init__()
        self.w1 = nn.Parameter(torch.randn(hidden, rank, generator=generator) / math.sqrt(hidden))
        self.b1 = nn.Parameter(torch.zeros(rank))
        self.w2 = nn.Parameter(torch.zeros(rank, hidden))
        self.b2 = nn.Parameter(torch.zeros(hidden))
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, z: Tensor) -> Tensor:
        """Map the FFN's input `z` [.., D] to the term [.., D] to add to the FFN's output, in the dtype of `z`.

        lambda is multiplied into W2 and b2 in float32 before they are rounded: fewer operations than scaling [.., D],
        and its gradient is summed in float32.
        """
        inner = functional.gelu(functional.linear(z, self.w1.t().to(z.dtype), self.b1.to(z.dtype)))
        return functional.linear(inner, (self.scale * self.w2).t().to(z.dtype), (self.scale * self.b2).to(z.dtype))


class FfnAdapters(nn.Module):
    """The adapters of one task: one for each layer of [first, stop)."""

    def __init__(self, hidden: int, rank: int, first: int, stop: int, generator: torch.Generator) -> None:
        """Build `stop - first` adapters; `generator` makes them reproducible."""
        super().__init__()
        self.layers = nn.ModuleDict({str(n): FfnAdapter(hidden, rank, generator) for n in range(first, stop)})

    def forward(self, layer: int, z: Tensor) -> Tensor | None:
        """Return what to add to the output of `layer`'s FFN for its input `z` [.., D], or None without an adapter."""
        key = str(layer)
        if key not in self.layers:
            return None
        added: Tensor = self.layers[key](z)
        return added


def adapter_parameters(hidden: int, rank: int) -> int:
    """Return the number of parameters of one adapter: 2 D r + r + D + 1."""
    return 2 * hidden * rank + rank + hidden + 1
