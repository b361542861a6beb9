"""The adapters of a batch whose rows belong to several tasks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from m6rec_core.tuning.task import TaskTuning

_Adapter = Callable[[int, Tensor], Tensor | None]


class MixedAdapters:
    """What the adapters of several tasks add in one layer: each task's adapter sees its own tokens only."""

    def __init__(self, rows: Sequence[tuple[TaskTuning, Tensor]], read: Sequence[int] = ()) -> None:
        """Take for each task its tuned parts and the flat places of its tokens, in all each token once.

        `read`: how many of the read places are each task's, task by task, where only they run in the last layer.
        """
        self._tunings = [tuning for tuning, _ in rows]
        self._places = [places for _, places in rows]
        stops = [sum(read[: n + 1]) for n in range(len(read))]
        self._read = [slice(stop - size, stop) for size, stop in zip(read, stops, strict=True)]

    def ffn(self, layer: int, z: Tensor) -> Tensor | None:
        """See `LayerAdapters`; `z` is [G, T, D] of all tokens, or [R, D] of the read places."""
        return self._added([tuning.ffn for tuning in self._tunings], layer, z)

    def attention(self, layer: int, z: Tensor) -> Tensor | None:
        """See `LayerAdapters`; `z` is [G, T, D]."""
        return self._added([tuning.attention for tuning in self._tunings], layer, z)

    def _added(self, adapters: Sequence[_Adapter], layer: int, z: Tensor) -> Tensor | None:
        if len(adapters) == 1:
            # One task: padding gets an adapter too, which nobody reads, and the gather and scatter are saved.
            return adapters[0](layer, z)
        if z.dim() == 2:
            parts = [(added(layer, z[part]), z[part]) for added, part in zip(adapters, self._read, strict=True)]
            if all(extra is None for extra, _ in parts):
                return None
            return torch.cat([torch.zeros_like(own) if extra is None else extra for extra, own in parts])
        flat = z.reshape(-1, z.shape[-1])
        total: Tensor | None = None
        for added, places in zip(adapters, self._places, strict=True):
            extra = added(layer, flat[places])
            if extra is not None:
                total = torch.zeros_like(flat) if total is None else total
                total = total.index_add(0, places, extra.to(flat.dtype))
        return None if total is None else total.view_as(z)
