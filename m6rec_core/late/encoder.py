"""The lower layers' states of segments that are encoded by themselves, many to a forward."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from m6rec_core.backbone.hf import Backbone
from m6rec_core.tokens.layout import separate_layout
from m6rec_core.tuning.task import TaskTuning

TOKENS_PER_FORWARD = 1024


@dataclass(frozen=True, slots=True)
class SegmentText:
    """What determines the states of a segment: its token `ids`, and whether they see each other both ways."""

    ids: tuple[int, ...]
    mutual: bool


@torch.no_grad()
def encode_segments(
    backbone: Backbone, tuning: TaskTuning, below: int, segments: Sequence[SegmentText]
) -> Iterator[tuple[SegmentText, Tensor]]:
    """Yield each of `segments` with its states [n, D] after the layers [0, below), shortest first.

    Segments of similar length share a forward of at most TOKENS_PER_FORWARD tokens (a longer one has its own).
    """
    ordered = sorted(segments, key=lambda s: (len(s.ids), s.ids))
    start = 0
    while start < len(ordered):
        stop = start + 1
        while stop < len(ordered) and len(ordered[stop].ids) * (stop + 1 - start) <= TOKENS_PER_FORWARD:
            stop += 1
        yield from _forward(backbone, tuning, below, ordered[start:stop])
        start = stop


def _forward(
    backbone: Backbone, tuning: TaskTuning, below: int, group: Sequence[SegmentText]
) -> Iterator[tuple[SegmentText, Tensor]]:
    device = backbone.embedding.device
    lengths = [len(s.ids) for s in group]
    width = max(lengths)
    ids = torch.tensor([[*s.ids, *(0,) * (width - len(s.ids))] for s in group], device=device)
    layout = separate_layout(lengths, [s.mutual for s in group], device)
    adapters = tuning if tuning.adapter_state(below) else None
    states = backbone.run(backbone.embed(ids), layout, 0, below, adapters)
    for segment, length, row in zip(group, lengths, states, strict=True):
        yield segment, row[:length]
