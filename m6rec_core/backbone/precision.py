"""Choose the number format by measuring this machine, not by belief."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

_FORMATS = {"bf16": torch.bfloat16, "fp32": torch.float32, "fp64": torch.float64}
ROUNDS = 5
CLEAR = 3.0
"""How many times slower one format must be for a single turn to decide."""


def resolve(precision: str, device: torch.device) -> torch.dtype:
    """The dtype for `bf16 | fp32 | fp64 | auto`; auto takes bf16 when a layer-sized product is faster in it."""
    if precision != "auto":
        return _FORMATS[precision]
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    return torch.bfloat16 if bf16_is_faster() else torch.float32


def name_of(dtype: torch.dtype) -> str:
    """The setting that means a dtype."""
    return next(name for name, value in _FORMATS.items() if value is dtype)


def bf16_is_faster() -> bool:
    """Whether this CPU is faster in bf16 than in float32, by the best of a few turns each.

    The two take turns, so that other work on the machine slows both. A clear result ends it: without bf16 instructions
    a CPU is ten times slower in it, and measuring on would cost half a second.
    """
    half, full = _product(torch.bfloat16), _product(torch.float32)
    best = {"half": float("inf"), "full": float("inf")}
    half(), full()  # the first call of each sets up threads and kernels
    for _ in range(ROUNDS):
        best = {"half": min(best["half"], half()), "full": min(best["full"], full())}
        if max(best.values()) > CLEAR * min(best.values()):
            break
    return best["half"] < best["full"]


def _product(dtype: torch.dtype) -> Callable[[], float]:
    """A function that does a product of the shape that dominates a small decoder and returns its seconds."""
    generator = torch.Generator().manual_seed(0)
    left = torch.randn(256, 576, generator=generator).to(dtype)
    right = torch.randn(1536, 576, generator=generator).to(dtype)

    @torch.no_grad()
    def seconds() -> float:
        start = time.perf_counter()
        torch.nn.functional.linear(left, right)
        return time.perf_counter() - start

    return seconds
