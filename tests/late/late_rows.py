"""Rows of lines and a tuned tiny model for the tests of late interaction."""

from __future__ import annotations

from types import ModuleType

import torch
from hypothesis import strategies as st
from torch import nn

from m6rec_core.config import TaskConfig, TuningConfig
from m6rec_core.hookspecs import HOOK_API, hookimpl
from m6rec_core.late.cache import SegmentCache
from m6rec_core.model import M6Rec
from m6rec_core.registry import task_from_module
from m6rec_core.testing import build_tuned, tiny_backbone
from m6rec_core.testing.building import perturb
from m6rec_core.tokens.layout import Layout
from m6rec_core.types import Prediction, Readout, Region, Sample, Segment, Serialized, TaskManifest, TextRow

SETTINGS = TaskConfig(options=(" No", " Yes"), instruction="Will the user like it?")
WORDS = ("Heat: liked\n", "Heat:", "Up: disliked\n", "A user.\n", "The Matrix, loved by most: liked\n")
MEMORY = 1 << 20


class Lines(Sample):
    """Rows of (source lines, target line); the readout and the markers are the sample's own."""

    rows: tuple[tuple[tuple[str, ...], str], ...]
    markers: bool = False
    readout: Readout = Readout.TARGET


class Answer(Prediction):
    score: float


class Head(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(32))


def serialize_sample(sample, config):
    rows = []
    for source, target in sample.rows:
        segments = [Segment(line, Region.BIDIRECTIONAL) for line in source]
        segments.append(Segment(target, Region.AUTOREGRESSIVE, scored=True, cacheable=not target.startswith("A")))
        rows.append(TextRow(tuple(segments), sample.readout, sample.markers))
    return Serialized(tuple(rows))


def build_head(config, backbone):
    return Head()


def compute_loss(head, view):
    scores = (view.hidden @ head.weight).square()
    return scores.new_zeros(len(view.samples)).index_add(0, view.sample_of_row, scores)


def decode(head, view, generate):
    losses = compute_loss(head, view).tolist()
    return [Answer(id=s.id, score=v) for s, v in zip(view.samples, losses, strict=True)]


def lines_task():
    module = ModuleType("lines")
    module.MANIFEST = TaskManifest(
        task="lines", summary="rows of lines", hook_api=(HOOK_API, HOOK_API), sample=Lines, prediction=Answer,
        config=TaskConfig, label_field="",
    )  # fmt: skip
    for hook in (serialize_sample, build_head, compute_loss, decode):
        setattr(module, hook.__name__, hookimpl(hook))
    return task_from_module(module)


TASK = lines_task()


def late_tuning(**values: object) -> TuningConfig:
    return TuningConfig(**{"budget": 0.9, "prompts": 3, "late_layers": 1, "adapter_layers": "late", **values})


def late_model(attention="causal", family="llama", seed=1, backbone=None, **values: object) -> M6Rec:
    """One task on a tiny backbone of three layers in float64, nothing at a start where it has no effect."""
    backbone = backbone or tiny_backbone(family, attention=attention)
    tuned = perturb(build_tuned(TASK, SETTINGS, backbone, late_tuning(**values), seed=seed), seed)
    return M6Rec(backbone, {"lines": tuned}).eval()


def cache_of(model: M6Rec, memory: int = MEMORY, **options: object) -> SegmentCache:
    return SegmentCache(model.backbone, memory, **options)


@st.composite
def sample_lists(draw: st.DrawFn) -> list[Lines]:
    """Samples whose rows begin alike: lines of one user's history, one to three candidates each."""
    history = draw(st.lists(st.sampled_from(WORDS), min_size=1, max_size=4))
    samples = []
    for i in range(draw(st.integers(1, 4))):
        source = tuple(history[: draw(st.integers(1, len(history)))])
        targets = draw(st.lists(st.sampled_from(WORDS), min_size=1, max_size=3))
        rows = tuple((source, target) for target in targets)
        markers, readout = draw(st.booleans()), draw(st.sampled_from(list(Readout)))
        samples.append(Lines(id=str(i), rows=rows, markers=markers, readout=readout))
    return samples


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
