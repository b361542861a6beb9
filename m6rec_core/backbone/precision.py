"""Choose the number format by measuring this machine, not by belief."""

from __future__ import annotations

import time

import torch

_FORMATS = {"bf16": torch.bfloat16, "fp32": torch.float32, "fp64": torch.float64}


def resolve(precision: str, device: torch.device) -> torch.dtype:
    """The dtype for `bf16 | fp32 | fp64 | auto`; auto takes bf16 when a layer-sized product is faster in it."""
    if precision != "auto":
        return _FORMATS[precision]
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    return torch.bfloat16 if _seconds(torch.bfloat16) < _seconds(torch.float32) else torch.float32


def name_of(dtype: torch.dtype) -> str:
    """The setting that means a dtype."""
    return next(name for name, value in _FORMATS.items() if value is dtype)


def _seconds(dtype: torch.dtype) -> float:
    """Best of five products of the shape that dominates a small decoder, in seconds."""
    generator = torch.Generator().manual_seed(0)
    left = torch.randn(512, 576, generator=generator).to(dtype)
    right = torch.randn(1536, 576, generator=generator).to(dtype)
    best = float("inf")
    with torch.no_grad():
        for _ in range(5):
            start = time.perf_counter()
            torch.nn.functional.linear(left, right)
            best = min(best, time.perf_counter() - start)
    return best
