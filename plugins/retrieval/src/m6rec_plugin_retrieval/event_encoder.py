"""Users as the sequence of their events' item texts: a small causal encoder over frozen states, one per text.

    u_n = unit(Encoder(W_in x_1 + m_1 + p_1, ..., W_in x_n + m_n + p_n)_n),   v = unit(W_out x + m)
    score = u_n . v exp(t)

with x the whitened read-out state of an item's text, p positions and m what is remembered of a text that the fit has
met (`text_memory`, zero for others): SASRec (Kang and McAuley 2018) whose item table is a map of text with a table
beside it, so that an item nobody has met has a vector. Paper 3.3 keeps the states of whole segments; here one state of
each is kept.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from m6rec_plugin_retrieval.text_memory import TextMemory

COMPONENTS = 256
"""At most so many principal components of the states are read."""
LAYERS = 2
HEADS = 2


class EventEncoder(nn.Module):
    """Maps sequences of states to user vectors and states to item vectors, of length 1. Causal in time."""

    mean: Tensor
    basis: Tensor

    def __init__(self, hidden: int, width: int, positions: int, temperature: float, known: int = 0) -> None:
        """`hidden` is D, `width` that of the vectors and of the encoder, `positions` the longest sequence, `known` the
        most texts that are remembered."""
        super().__init__()
        components = min(COMPONENTS, hidden)
        self.register_buffer("mean", torch.zeros(hidden))
        self.register_buffer("basis", torch.eye(hidden, components))
        self.incoming = nn.Linear(components, width)
        self.outgoing = nn.Linear(components, width)
        self.memory = TextMemory(known, components, width)
        self.position = nn.Parameter(0.02 * torch.randn(positions, width))
        self.layers = nn.ModuleList(_Layer(width, HEADS if width % HEADS == 0 else 1) for _ in range(LAYERS))
        self.norm = nn.LayerNorm(width)
        self.log_scale = nn.Parameter(torch.tensor(-math.log(temperature)))

    @property
    def positions(self) -> int:
        """The longest sequence."""
        return self.position.shape[0]

    @torch.no_grad()
    def whiten(self, states: Tensor) -> None:
        """Choose the components from states [Q, D]: standardised, principal, each of variance 1."""
        mean, scale = states.double().mean(0), states.double().std(0, correction=0)
        standard = (states.double() - mean) / (scale + 1e-6)
        _, values, directions = torch.linalg.svd(standard, full_matrices=False)
        sign = torch.sign(directions.gather(1, directions.abs().argmax(1, keepdim=True)))
        count = min(self.basis.shape[1], int((values > 1e-4 * values[0]).sum()) if values[0] > 0 else 0)
        basis = torch.zeros(self.basis.shape, dtype=torch.float64, device=states.device)
        unit = (directions * sign)[:count].T * (len(states) ** 0.5 / values[:count])
        basis[:, :count] = unit / (scale + 1e-6)[:, None]
        self.basis.copy_(basis)
        self.mean.copy_(mean)

    def components(self, states: Tensor) -> Tensor:
        """Whitened states [.., K] of states [.., D]."""
        return (states - self.mean) @ self.basis

    def items(self, components: Tensor, remembered: Tensor) -> Tensor:
        """Vectors [N, width] of items from whitened states [N, K] and what `memory` says of them [N, width]."""
        return functional.normalize(self.outgoing(components) + remembered, dim=-1)

    def events(self, components: Tensor, remembered: Tensor) -> Tensor:
        """What `sequences` reads of texts [N, width], from their whitened states and what `memory` says of them."""
        found: Tensor = self.incoming(components) + remembered
        return found

    def sequences(self, events: Tensor, dropout: float = 0.0) -> Tensor:
        """User vectors [B, T, width] after each event, from `events` [B, T, width] in order of time, T at most
        `positions`; shorter sequences are padded at the end, where nothing before reads it. `dropout`: in steps."""
        x = _dropped(events + self.position[: events.shape[1]], dropout)
        for layer in self.layers:
            x = layer(x, dropout)
        return functional.normalize(self.norm(x), dim=-1)

    def users(self, states: Tensor, first: Tensor, count: Tensor) -> Tensor:
        """Vectors [N, width] of users whose latest events are the rows first .. first + count - 1 of `states`
        [R, D]; of longer sequences the latest `positions` count."""
        kept = count.clamp(max=self.positions)
        start = first + count - kept
        steps = torch.arange(int(kept.max()), device=states.device)
        place = start[:, None] + torch.minimum(steps[None], kept[:, None] - 1)
        components = self.components(states)
        vectors = self.sequences(self.events(components, self.memory(components))[place])
        return vectors[torch.arange(len(kept), device=states.device), kept - 1]


class _Layer(nn.Module):
    """A pre-norm transformer layer with causal attention."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm, self.ffn_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.mixed, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, x: Tensor, dropout: float) -> Tensor:
        batch, length, width = x.shape
        split = self.mixed(self.attention_norm(x)).view(batch, length, 3, self.heads, width // self.heads)
        query, key, value = split.permute(2, 0, 3, 1, 4)
        found = functional.scaled_dot_product_attention(query, key, value, dropout_p=dropout, is_causal=True)
        x = x + _dropped(self.out(found.transpose(1, 2).reshape(batch, length, width)), dropout)
        inner = _dropped(functional.gelu(self.up(self.ffn_norm(x))), dropout)
        return x + _dropped(self.down(inner), dropout)


def _dropped(x: Tensor, dropout: float) -> Tensor:
    return functional.dropout(x, dropout) if dropout else x
