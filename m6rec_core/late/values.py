"""States of one segment as numbers in memory and as bytes on disk or in Redis, checked when they come back.

With eight bits each token's vector is stored as int8 with one float32 scale, its largest absolute value over 127.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

import torch
from torch import Tensor

_MAGIC = b"M6S1"
_HEADER = struct.Struct("<4sBIII")  # magic, dtype code, tokens, width, crc32 of what follows
_CODES = {torch.float32: 0, torch.bfloat16: 1, torch.float64: 2, torch.float16: 3, torch.int8: 4}
_DTYPES = {code: dtype for dtype, code in _CODES.items()}


class DamagedValueError(ValueError):
    """The bytes are not what was written: cut short, changed, or of another size."""


@dataclass(frozen=True, slots=True)
class Stored:
    """States as they are kept: `rows` [n, D], and `scale` [n] float32 where they are int8 (None otherwise)."""

    rows: Tensor
    scale: Tensor | None

    @property
    def bytes(self) -> int:
        """Memory of the numbers."""
        return self.rows.nbytes + (0 if self.scale is None else self.scale.nbytes)


def store(states: Tensor, eight_bit: bool) -> Stored:
    """Bring states [n, D] into the form they are kept in."""
    if not eight_bit:
        return Stored(states, None)
    scale = states.float().abs().amax(dim=1).clamp_min(1e-30) / 127.0
    return Stored((states.float() / scale[:, None]).round().to(torch.int8), scale)


def restore(rows: Tensor, scale: Tensor | None, dtype: torch.dtype) -> Tensor:
    """Turn kept rows [n, D] back into states."""
    return rows.to(dtype) if scale is None else (rows.float() * scale[:, None]).to(dtype)


def to_bytes(stored: Stored) -> bytes:
    """Header, rows and scales."""
    body = _raw(stored.rows) + (b"" if stored.scale is None else _raw(stored.scale.float()))
    count, width = stored.rows.shape
    return _HEADER.pack(_MAGIC, _CODES[stored.rows.dtype], count, width, zlib.crc32(body)) + body


def from_bytes(value: bytes, tokens: int, width: int) -> Stored:
    """Read what `to_bytes` wrote for a segment of `tokens` tokens. Raises DamagedValueError for anything else."""
    if len(value) < _HEADER.size:
        raise DamagedValueError(f"a value of {len(value)} bytes has no header")
    magic, code, count, columns, crc = _HEADER.unpack_from(value)
    if magic != _MAGIC or code not in _DTYPES or (count, columns) != (tokens, width):
        raise DamagedValueError("a value has a header that does not fit its key")
    dtype = _DTYPES[code]
    size = count * columns * dtype.itemsize
    body = memoryview(value)[_HEADER.size :]
    if len(body) != size + (4 * count if dtype is torch.int8 else 0) or zlib.crc32(body) != crc:
        raise DamagedValueError(f"a value of {len(value)} bytes is cut short or damaged")
    rows = torch.frombuffer(bytearray(body[:size]), dtype=dtype).view(count, columns)
    scale = torch.frombuffer(bytearray(body[size:]), dtype=torch.float32) if dtype is torch.int8 else None
    return Stored(rows, scale)


def _raw(tensor: Tensor) -> bytes:
    return tensor.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes()
