"""A tuned tiny model on rows of lines for the tests of late interaction."""

from __future__ import annotations

import torch
from lines_task import TASK, WORDS, Lines

from m6rec_core.config import TaskConfig, TuningConfig
from m6rec_core.late.cache import SegmentCache
from m6rec_core.model import M6Rec
from m6rec_core.testing import build_tuned, tiny_backbone
from m6rec_core.testing.building import perturb
from m6rec_core.tokens.layout import Layout

SETTINGS = TaskConfig(options=(" No", " Yes"), instruction="Will the user like it?")
MEMORY = 1 << 20


def late_tuning(**values: object) -> TuningConfig:
    return TuningConfig(**{"budget": 0.9, "prompts": 3, "late_layers": 1, "adapter_layers": "late", **values})


def late_model(attention="causal", family="llama", seed=1, backbone=None, **values: object) -> M6Rec:
    """One task on a tiny backbone of three layers in float64, nothing at a start where it has no effect."""
    backbone = backbone or tiny_backbone(family, attention=attention)
    tuned = perturb(build_tuned(TASK, SETTINGS, backbone, late_tuning(**values), seed=seed), seed)
    return M6Rec(backbone, {"lines": tuned}).eval()


def cache_of(model: M6Rec, memory: int = MEMORY, **options: object) -> SegmentCache:
    return SegmentCache(model.backbone, memory, **options)


def fixed_samples(count: int = 4) -> list[Lines]:
    return [
        Lines(id=str(i), rows=((tuple(WORDS[: 1 + i % 4]), WORDS[(i + 2) % 5]),), markers=i % 2 == 0)
        for i in range(count)
    ]


def alone(length: int) -> Layout:
    """One causal segment by itself."""
    index = torch.arange(length)[None]
    zero = torch.zeros_like(index)
    return Layout(end=zero + length, block=zero - 1, segment=zero, position=index, offset=index)
