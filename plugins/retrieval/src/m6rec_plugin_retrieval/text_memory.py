"""What users did with texts that the fit has met: a vector for each, found again by the text's own state.

A map of text alone cannot tell two films of one genre and decade apart; a table of ids can, but knows nothing of a new
item. Here a known text adds its learnt vector to what the map says, and an unknown one adds nothing. The key is the
whitened state, so heads need no ids, and a catalogue may come from anywhere.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

KEY = 64
"""So many leading components are compared."""
NEAR = 0.25
"""A state within this distance of a key is that text. Two states of one text differ by rounding (about .001); two
different titles of ml-1m are at least .64 apart, 4.5 in the median."""
CHUNK = 4096


class TextMemory(nn.Module):
    """Up to `size` known texts: keys [size, min(KEY, K)] and vectors [size, width], all zero before a fit."""

    keys: Tensor
    filled: Tensor

    def __init__(self, size: int, components: int, width: int) -> None:
        """`components`: K, of the whitened states."""
        super().__init__()
        self.register_buffer("keys", torch.zeros(size, min(KEY, components)))
        self.register_buffer("filled", torch.zeros(size, dtype=torch.bool))
        self.vectors = nn.Parameter(torch.zeros(size, width), requires_grad=size > 0)

    @torch.no_grad()
    def remember(self, components: Tensor) -> None:
        """Take whitened states [Q, K] as the known texts, most important first; those beyond `size` stay unknown."""
        count = min(len(self.keys), len(components))
        self.keys[:count] = components[:count, : self.keys.shape[1]].to(self.keys)
        self.filled.copy_(torch.arange(len(self.keys), device=self.filled.device) < count)
        self.vectors.zero_()

    @torch.no_grad()
    def places(self, components: Tensor) -> tuple[Tensor, Tensor]:
        """The nearest known text [N] of each whitened state [N, K], and whether it is near enough to be that [N]."""
        place = torch.zeros(len(components), dtype=torch.int64, device=components.device)
        known = torch.zeros(len(components), dtype=torch.bool, device=components.device)
        count = int(self.filled.sum())
        if not count:
            return place, known
        keys = self.keys[:count].to(components)
        for start in range(0, len(components), CHUNK):
            chosen = slice(start, start + CHUNK)
            distance, place[chosen] = torch.cdist(components[chosen, : keys.shape[1]], keys).min(1)
            known[chosen] = distance <= NEAR
        return place, known

    def forward(self, components: Tensor) -> Tensor:
        """What is known of each text [N, width], zero for others."""
        if not len(self.vectors):
            return components.new_zeros(len(components), self.vectors.shape[1])
        place, known = self.places(components)
        return self.vectors[place] * known[:, None]
