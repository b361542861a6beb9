"""Hidden states without a cache: the whole text is computed again for every token. The reference for tests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from m6rec_core.decoding.prompts import Prompt
from m6rec_core.model import M6Rec
from m6rec_core.testing.building import one_batch
from m6rec_core.tokens.batching import Encoded
from m6rec_core.types import Sample


class RecomputedStates:
    """The same answers as `m6rec_core.decoding.states.CachedStates`, by the way that tuning takes."""

    def __init__(self, model: M6Rec, prompts: Sequence[Prompt], lanes: int, new_tokens: int) -> None:
        """Start with `lanes` empty texts for every prompt; `new_tokens` is not needed."""
        del new_tokens
        self._model = model
        self._prompts = list(prompts)
        self._texts: list[list[tuple[int, ...]]] = [[()] * lanes for _ in prompts]

    def start(self) -> Tensor:
        """The states at the ends of the prompts, [R, D]."""
        return self._ends([(p, ()) for p in self._prompts])

    def advance(self, parents: Tensor, ids: Tensor) -> Tensor:
        """The states at the ends of all texts, [R, B, D]."""
        self._texts = [
            [(*row[parent], token) for parent, token in zip(*choices, strict=True)]
            for row, choices in zip(self._texts, zip(parents.tolist(), ids.tolist(), strict=True), strict=True)
        ]
        pairs = [(p, text) for p, row in zip(self._prompts, self._texts, strict=True) for text in row]
        return self._ends(pairs).view(*ids.shape, -1)

    def keep(self, rows: Tensor) -> None:
        """Go on with these rows only."""
        self._prompts = [self._prompts[i] for i in rows.tolist()]
        self._texts = [self._texts[i] for i in rows.tolist()]

    @torch.no_grad()
    def _ends(self, pairs: Sequence[tuple[Prompt, tuple[int, ...]]]) -> Tensor:
        encoded = []
        for i, (prompt, text) in enumerate(pairs):
            ids = prompt.row.ids + text
            segments = prompt.row.segments + (prompt.row.segments[-1] + 1,) * len(text)
            row = replace(prompt.row, ids=ids, segments=segments, readout=len(ids) - 1)
            encoded.append(Encoded(prompt.task, i, Sample(id=str(i)), (row,)))
        model = self._model
        batch = one_batch(encoded, model.backbone).to(model.backbone.embedding.device)
        hidden = model.backbone.run(
            model.embed(batch), batch.layout, 0, model.backbone.spec.layers, model.ffn(batch)
        ).flatten(0, 1)
        ends = torch.zeros(len(pairs), hidden.shape[-1], dtype=hidden.dtype, device=hidden.device)
        for rows in batch.tasks.values():
            ends[list(rows.indices)] = hidden[rows.readout]
        return model.backbone.final_norm(ends)
