"""The four hooks. This is the one file a plugin author must read.

A plugin is a module with a `MANIFEST` (`m6rec_core.types.TaskManifest`) and these four pure functions, each decorated
with `hookimpl`. The task's name is never an argument: the registry calls exactly one plugin.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from torch import Tensor, nn

    from m6rec_core.config import TaskConfig
    from m6rec_core.types import BackboneSpec, Generate, Prediction, Sample, Serialized, TaskView

HOOK_API = 1
"""Version of this file. It grows by one whenever a signature or a promise below changes."""

PROJECT = "m6rec"
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec(firstresult=True)
def serialize_sample(sample: Sample, config: TaskConfig) -> Serialized:
    """Write a sample as plain text segments.

    Called without tokenizer, phase or length budget: the text is the same in training and serving, and the core
    shortens rows by dropping whole `droppable` segments. The label must not influence the text. Pure and deterministic.
    """
    raise AssertionError("specification only")


@hookspec(firstresult=True)
def build_head(config: TaskConfig, backbone: BackboneSpec) -> nn.Module:
    """Build the task's trainable head, usually from the bricks in `m6rec_core.heads`.

    A head that has a method `prepare(samples)` (`m6rec_core.types.PreparedHead`) is shown the training samples once,
    before tuning starts.
    """
    raise AssertionError("specification only")


@hookspec(firstresult=True)
def compute_loss(head: nn.Module, view: TaskView) -> Tensor:
    """Return one float32 loss per sample, shape [N]. The core reduces them, over rows, ranks and accumulation steps."""
    raise AssertionError("specification only")


@hookspec(firstresult=True)
def decode(head: nn.Module, view: TaskView, generate: Generate) -> Sequence[Prediction]:
    """Return one prediction per sample, in the order of `view.samples`."""
    raise AssertionError("specification only")
