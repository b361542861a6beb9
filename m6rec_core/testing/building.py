"""Short builders for tests of tasks: a tuned task on a tiny backbone, its samples as token rows, one batch of them."""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType

import torch

from m6rec_core.assemble import assemble, encode
from m6rec_core.backbone.hf import Backbone
from m6rec_core.config import TaskConfig, TuningConfig
from m6rec_core.model import TunedTask
from m6rec_core.registry import Task, task_from_module
from m6rec_core.tokens.batching import Batch, Encoded, Pack, Tree, collate
from m6rec_core.tokens.tree import grow
from m6rec_core.types import PreparedHead, Sample

KIT_TUNING = TuningConfig(budget=0.9, prompts=6)
"""Tuning for tiny backbones, of which 1 % is not worth having: every layer gets an adapter."""


def as_task(task: Task | ModuleType) -> Task:
    """The task of a plugin module; a `Task` is returned as it is. RegistryError says what is wrong with a plugin."""
    return task_from_module(task) if isinstance(task, ModuleType) else task


def build_tuned(
    task: Task | ModuleType,
    config: TaskConfig,
    backbone: Backbone,
    tuning: TuningConfig = KIT_TUNING,
    seed: int = 0,
    prepare: Sequence[Sample] = (),
) -> TunedTask:
    """A task with fresh tuned parts, in the backbone's dtype where that is float64.

    `prepare`: the training samples to show to a head that wants them (`PreparedHead`). Raises ConfigError when the
    budget does not allow the settings.
    """
    tuned = assemble(as_task(task), config, tuning, backbone, seed).tuned
    if prepare and isinstance(tuned.head, PreparedHead):
        tuned.head.prepare(prepare)
    if backbone.dtype is torch.float64:
        tuned.tuning.double()
        tuned.head.double()
    return tuned


@torch.no_grad()
def perturb(tuned: TunedTask, seed: int, size: float = 0.1) -> TunedTask:
    """Add normal noise to everything that trains, so that no part is at a start where it has no effect."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in [*tuned.tuning.parameters(), *tuned.head.parameters()]:
        parameter.add_(size * torch.randn(parameter.shape, generator=generator).to(parameter))
    return tuned


def encode_samples(name: str, tuned: TunedTask, samples: Sequence[Sample], backbone: Backbone) -> tuple[Encoded, ...]:
    """Samples of the task instance `name` as token rows, in the order given."""
    return encode(name, tuned, samples, backbone).samples


def one_batch(samples: Sequence[Encoded], backbone: Backbone, merged: bool = False) -> Batch:
    """One batch of all samples, in the order given.

    Each sample is a pack of its own, padded to the longest; `merged` puts all into one pack instead, where samples of
    one task share what they have in common.
    """
    if not merged:
        packs = [Pack((_tree([sample], backbone),)) for sample in samples]
        return collate(packs, backbone.spec.vocabulary)
    by_task: dict[str, list[Encoded]] = {}
    for sample in samples:
        by_task.setdefault(sample.task, []).append(sample)
    trees = tuple(_tree(members, backbone) for members in by_task.values())
    return collate([Pack(trees)], backbone.spec.vocabulary)


def _tree(samples: Sequence[Encoded], backbone: Backbone) -> Tree:
    rows = [row for sample in samples for row in sample.rows]
    return Tree(samples[0].task, tuple(samples), grow(rows, backbone.causal))
