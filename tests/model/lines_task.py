"""A task whose samples are rows of lines, each with its own read-out: what equivalence tests draw at random."""

from __future__ import annotations

from types import ModuleType

import torch
from hypothesis import strategies as st
from torch import nn

from m6rec_core.config import TaskConfig
from m6rec_core.hookspecs import HOOK_API, hookimpl
from m6rec_core.registry import task_from_module
from m6rec_core.types import Pooling, Prediction, Readout, Region, Sample, Segment, Serialized, TaskManifest, TextRow

WORDS = ("Heat: liked\n", "Heat:", "Up: disliked\n", "A user.\n", "The Matrix, loved by most: liked\n")


class Lines(Sample):
    """Rows of (source lines, target line); the readout, its pooling and the markers are the sample's own."""

    rows: tuple[tuple[tuple[str, ...], str], ...]
    markers: bool = False
    readout: Readout = Readout.TARGET
    pooling: Pooling = Pooling.LAST


class Answer(Prediction):
    score: float


class Head(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(32))


def serialize_sample(sample, config):
    rows = []
    for source, target in sample.rows:
        segments = [Segment(line, Region.BIDIRECTIONAL, age=100.0**n) for n, line in enumerate(source)]
        segments.append(Segment(target, Region.AUTOREGRESSIVE, scored=True, cacheable=not target.startswith("A")))
        rows.append(TextRow(tuple(segments), sample.readout, sample.markers, pooling=sample.pooling))
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
        pooling = draw(st.sampled_from(list(Pooling)))
        samples.append(Lines(id=str(i), rows=rows, markers=markers, readout=readout, pooling=pooling))
    return samples
