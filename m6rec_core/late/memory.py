"""The memory tier: one arena of token rows, segments leave it least recently used first, by bytes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from m6rec_core.late.values import Stored, restore

Rows = NDArray[np.int64]


class Arena:
    """At most `limit` bytes of states [rows, D] in one tensor; a segment may lie in any free rows, so none is wasted.

    Not thread-safe: its owner holds a lock around every call.
    """

    def __init__(self, limit: int, width: int, dtype: torch.dtype, device: torch.device, eight_bit: bool) -> None:
        """Reserve the arena; pages are taken from the system when they are first written."""
        kept = torch.int8 if eight_bit else dtype
        self._row_bytes = width * kept.itemsize + (4 if eight_bit else 0)
        self.capacity = limit // self._row_bytes
        self._dtype = dtype
        self._rows = torch.empty(self.capacity, width, dtype=kept, device=device)
        self._scale = torch.empty(self.capacity, device=device) if eight_bit else None
        self._held: OrderedDict[Hashable, Rows] = OrderedDict()
        self._free = np.arange(self.capacity - 1, -1, -1)
        self._left = self.capacity
        self.evictions = 0

    @property
    def segments(self) -> int:
        """Number of segments held."""
        return len(self._held)

    @property
    def tokens(self) -> int:
        """Number of rows in use."""
        return self.capacity - self._left

    @property
    def bytes(self) -> int:
        """Memory of the rows in use."""
        return self.tokens * self._row_bytes

    def find(self, key: Hashable) -> Rows | None:
        """The rows of a segment, which counts as used now; None where it is not held."""
        rows = self._held.get(key)
        if rows is not None:
            self._held.move_to_end(key)
        return rows

    def read(self, rows: Sequence[Rows]) -> Tensor:
        """A copy [n, D] of the states in all `rows`, in order."""
        index = torch.from_numpy(np.concatenate(rows)).to(self._rows.device)
        scale = None if self._scale is None else self._scale[index]
        return restore(self._rows[index], scale, self._dtype)

    def put(self, key: Hashable, stored: Stored) -> None:
        """Keep a segment, after evicting what was used longest ago; one larger than the arena is not kept."""
        need = len(stored.rows)
        if need > self.capacity or key in self._held:
            return
        while self._left < need:
            _, freed = self._held.popitem(last=False)
            self._free[self._left : self._left + len(freed)] = freed
            self._left += len(freed)
            self.evictions += 1
        rows = self._free[self._left - need : self._left].copy()
        self._left -= need
        index = torch.from_numpy(rows).to(self._rows.device)
        self._rows[index] = stored.rows.to(self._rows)
        if self._scale is not None and stored.scale is not None:
            self._scale[index] = stored.scale.to(self._scale)
        self._held[key] = rows

    def clear(self) -> None:
        """Forget everything."""
        while self._held:
            _, freed = self._held.popitem()
            self._free[self._left : self._left + len(freed)] = freed
            self._left += len(freed)
