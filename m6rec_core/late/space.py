"""The key space of cached states: everything but the text that they depend on, as one digest."""

from __future__ import annotations

import hashlib
import json
from array import array
from collections.abc import Iterable

import torch
from torch import Tensor

from m6rec_core.backbone.hf import Backbone
from m6rec_core.late.encoder import SegmentText
from m6rec_core.tuning.task import TaskTuning

FORMAT = 1
"""Counts up when states are computed or stored in another way."""


def live_tag(backbone: Backbone, tuning: TaskTuning, below: int) -> tuple[object, ...]:
    """A cheap value that changes whenever weights that the states depend on may have changed in place."""
    weights = [*tuning.adapter_state(below), *_trained(backbone)]
    return (below, *((t.data_ptr(), t._version) for t in weights))


def space_of(backbone: Backbone, tuning: TaskTuning, below: int, eight_bit: bool) -> str:
    """Digest of backbone weights, vocabulary, attention, L' = `below`, adapters below it, number format and storage.

    Soft prompts and markers are segments of their own and never cached, and the text enters as token ids: so the key
    needs no more of a tokenizer than the vocabulary that its ids count in. Tasks without adapters below L' share
    one space; a backbone that was itself trained is known by its live weights.
    """
    parts = {
        "format": FORMAT,
        "backbone": backbone.spec.sha256,
        "live": _hash(_trained(backbone)),
        "vocabulary": backbone.spec.vocabulary,
        "attention": backbone.spec.attention,
        "below": below,
        "adapters": _hash(tuning.adapter_state(below)),
        "dtype": str(backbone.dtype),
        "eight_bit": eight_bit,
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def digest_of(space: str, segment: SegmentText) -> bytes:
    """The key of a segment's states, 32 bytes."""
    text = array("q", segment.ids).tobytes()
    return hashlib.sha256(f"{space} {int(segment.mutual)} ".encode() + text).digest()


def _trained(backbone: Backbone) -> list[Tensor]:
    return list(backbone.parameters()) if backbone.embedding.requires_grad else []


def _hash(tensors: Iterable[Tensor]) -> str:
    digest = hashlib.sha256()
    for tensor in tensors:
        value = tensor.detach().cpu().contiguous()
        digest.update(f"{value.dtype} {tuple(value.shape)};".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
