"""Hidden states of texts that grow token by token, for R prompts with B lanes each.

The prompt's keys and values are computed once, in prefix trees, and shared by the lanes of its row. What a lane writes
is a branch behind that trunk: it lies in the same row of the cache, and a lane sees the branch tokens it descends from.
So when beams change their parents only the mask changes, and no key or value is ever copied.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

import torch
from torch import Tensor

from m6rec_core.backbone.cache import Arena, Recorded
from m6rec_core.decoding.prompts import Prompt
from m6rec_core.model import M6Rec
from m6rec_core.tokens.batching import Encoded, Pack, collate, plan_packs
from m6rec_core.tuning.mixed import MixedAdapters
from m6rec_core.types import Sample

PACK_TOKENS = 1024
"""Length of the sequences in which prompts are computed."""


class TextStates(Protocol):
    """Final-norm hidden states at the ends of the texts."""

    def start(self) -> Tensor:
        """Return [R, D]: at the end of each prompt."""
        ...

    def advance(self, parents: Tensor, ids: Tensor) -> Tensor:
        """Lane b of row r becomes lane `parents` [R, B] followed by token `ids` [R, B]; return [R, B, D]."""
        ...

    def keep(self, rows: Tensor) -> None:
        """Go on with these rows only."""
        ...


class CachedStates:
    """States that compute each token once."""

    def __init__(self, model: M6Rec, prompts: Sequence[Prompt], lanes: int, new_tokens: int) -> None:
        """Make room for `new_tokens` tokens in each of `lanes` lanes of every prompt."""
        self._model = model
        self._prompts = list(prompts)
        self._lanes = lanes
        device = model.backbone.embedding.device
        lengths = [len(p.row.ids) for p in prompts]
        self._room = max(lengths) + lanes * new_tokens
        self._next = torch.tensor(lengths, device=device)
        columns = torch.arange(self._room, device=device)
        self._visible = (columns < self._next[:, None])[:, None].repeat(1, lanes, 1)
        self._arena = Arena((), max(lengths))
        self._ffn = self._adapters()

    @torch.no_grad()
    def start(self) -> Tensor:
        """Compute the prompts in packs; rows that begin alike are computed once."""
        backbone = self._model.backbone
        encoded = [Encoded(p.task, i, Sample(id=str(i)), (p.row,)) for i, p in enumerate(self._prompts)]
        ends: dict[int, Tensor] = {}
        layers: list[Tensor] = []
        for pack in plan_packs(encoded, PACK_TOKENS, backbone.causal):
            batch = collate([pack], backbone.spec.vocabulary).to(self._next.device)
            seen = Recorded()
            hidden = backbone.run(
                self._model.embed(batch), batch.layout, 0, backbone.spec.layers, self._model.ffn(batch), cache=seen
            )
            if not layers:
                layers = [self._empty(keys) for keys, _ in seen.layers]
            for index, places in _places(pack):
                where = torch.tensor(places, device=hidden.device)
                ends[index] = hidden[0, where[-1]]
                for layer, pair in zip(layers, seen.layers, strict=True):
                    for part, states in zip(layer, pair, strict=True):
                        part[index, :, : len(places)] = states[0][:, where]
        self._arena.layers = layers
        return backbone.final_norm(torch.stack([ends[i] for i in range(len(self._prompts))]))

    @torch.no_grad()
    def advance(self, parents: Tensor, ids: Tensor) -> Tensor:
        """Run the backbone on the new tokens only."""
        backbone, at = self._model.backbone, self._arena.length
        self._visible = torch.gather(self._visible, 1, parents[..., None].expand_as(self._visible))
        lanes = torch.arange(self._lanes, device=ids.device)
        self._visible[:, lanes, at + lanes] = True
        hidden = backbone.step(
            backbone.embed(ids),
            self._next[:, None].expand_as(ids),
            self._visible[:, :, : at + self._lanes],
            self._arena,
            self._ffn,
        )
        self._arena.advance(self._lanes)
        self._next = self._next + 1
        return backbone.final_norm(hidden)

    def keep(self, rows: Tensor) -> None:
        """Let go of the other rows' keys and values."""
        self._prompts = [self._prompts[i] for i in rows.tolist()]
        self._next, self._visible = self._next[rows], self._visible[rows]
        self._arena.keep(rows)
        self._ffn = self._adapters()

    def _empty(self, keys: Tensor) -> Tensor:
        """Room for one layer; zeros, because a masked weight times an unset number may be no number."""
        _, heads, _, width = keys.shape
        return keys.new_zeros(2, len(self._prompts), heads, self._room, width)

    def _adapters(self) -> MixedAdapters:
        names = [p.task for p in self._prompts]
        places = torch.arange(len(names) * self._lanes, device=self._next.device).view(len(names), self._lanes)
        rows = {name: [i for i, other in enumerate(names) if other == name] for name in dict.fromkeys(names)}
        return MixedAdapters([(self._model.tuning(name), places[own].flatten()) for name, own in rows.items()])


def _places(pack: Pack) -> Iterator[tuple[int, list[int]]]:
    """For each prompt of a pack its index and the places of its tokens in the sequence, as `collate` lays them out."""
    start = 0
    for tree in pack.trees:
        for sample, places in zip(tree.samples, tree.forest.places, strict=True):
            yield sample.index, [start + place for place in places]
        start += len(tree.forest.ids)
