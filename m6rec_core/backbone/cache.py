"""Keys and values that were computed before, in the form in which transformers' attention layers ask for them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor


class KeyValues(Protocol):
    """What `self_attn` of transformers calls as `past_key_values`, once per layer."""

    def update(self, key_states: Tensor, value_states: Tensor, layer_idx: int) -> tuple[Tensor, Tensor]:
        """Take the keys and values [G, H', T, d] of new tokens; return those [G, H', K, d] that they attend to."""
        ...


class Recorded:
    """Remembers what each layer computed: `layers[l]` is a pair [G, H', T, d]."""

    def __init__(self) -> None:
        """Start empty; layers must come in order."""
        self.layers: list[tuple[Tensor, Tensor]] = []

    def update(self, key_states: Tensor, value_states: Tensor, layer_idx: int) -> tuple[Tensor, Tensor]:
        """Keep the pair and return it as it is."""
        if layer_idx != len(self.layers):
            raise ValueError(f"layer {layer_idx} was run where layer {len(self.layers)} was expected")
        self.layers.append((key_states, value_states))
        return key_states, value_states


class Arena:
    """Room for `capacity` tokens per row and layer, allocated once; new tokens are written at `length`.

    `layers[l]` is a tensor [2, R, H', capacity, d]: keys, then values.
    """

    def __init__(self, layers: Sequence[Tensor], length: int) -> None:
        """Use `layers` as they are; the first `length` tokens of each are filled."""
        self.layers = list(layers)
        self.length = length

    def update(self, key_states: Tensor, value_states: Tensor, layer_idx: int) -> tuple[Tensor, Tensor]:
        """Write T new tokens [R, H', T, d] and return everything up to them."""
        stop = self.length + key_states.shape[2]
        keys, values = self.layers[layer_idx]
        keys[:, :, self.length : stop] = key_states
        values[:, :, self.length : stop] = value_states
        return keys[:, :, :stop], values[:, :, :stop]

    def advance(self, tokens: int) -> None:
        """Count `tokens` that every layer has written as filled."""
        self.length += tokens

    def keep(self, rows: Tensor) -> None:
        """Keep only the rows with these indices."""
        self.layers = [torch.index_select(layer, 1, rows) for layer in self.layers]
