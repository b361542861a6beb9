"""A task pack on its backbone, ready to answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from m6rec_core.assemble import Assembled, encode, load_pack
from m6rec_core.backbone.hf import Backbone
from m6rec_core.backbone.load import load_backbone
from m6rec_core.backbone.precision import bf16_is_faster, resolve
from m6rec_core.config import CacheConfig, TaskConfig
from m6rec_core.decoding.writing import writer
from m6rec_core.errors import BackboneError, PackError
from m6rec_core.late.opening import open_cache
from m6rec_core.model import M6Rec
from m6rec_core.registry import Task, load_task
from m6rec_core.serving.distinct import decode_states, distinct_rows, read_states
from m6rec_core.serving.scoring import Tick, in_order, predict_packs
from m6rec_core.tokens.batching import Encoded, plan_packs
from m6rec_core.tuning.pack import PackManifest, read_manifest
from m6rec_core.types import Prediction, Sample

Say = Callable[[str], None]
PACK_TOKENS = 640
"""Length of a sequence when the pack does not say with which one it was tuned."""


@dataclass(frozen=True, slots=True, eq=False)
class Opened:
    """A loaded pack. `model` serves it under the task's name."""

    task: Task
    manifest: PackManifest
    backbone: Backbone
    assembled: Assembled
    model: M6Rec
    device: torch.device

    @property
    def pack_tokens(self) -> int:
        """Tokens of a sequence: what the pack was tuned with."""
        return summary_int(self.manifest, "pack_tokens") or PACK_TOKENS

    @property
    def settings(self) -> TaskConfig:
        """The task's settings as the pack was tuned with them."""
        return self.assembled.tuned.config

    def predict(self, samples: Sequence[Sample], tick: Tick = lambda _samples: None) -> list[Prediction]:
        """Predictions of samples of the task, in their order. Raises DataError for a sample that cannot be encoded."""
        encoded = encode(self.task.name, self.assembled.tuned, samples, self.backbone)
        return self.answer(encoded.samples, tick)

    def answer(self, samples: Sequence[Encoded], tick: Tick = lambda _samples: None) -> list[Prediction]:
        """Predictions in the order of `samples`, whose `index` counts from 0."""
        name, found = self.task.name, distinct_rows(samples)
        if found.repeats:
            states = read_states(self.model, name, found, self.pack_tokens, self.device)
            answers = decode_states(self.model, name, [one.sample for one in samples], states)
            tick(len(samples))
            return answers
        packs = plan_packs(samples, self.pack_tokens, self.backbone.causal)
        answered = dict(predict_packs(self.model, name, packs, self.device, tick=tick))
        return in_order(answered, len(samples))


def open_pack(
    path: Path,
    backbone: str | None,
    precision: str | None,
    say: Say = lambda _line: None,
    settings: Mapping[str, Any] | None = None,
    task: str | None = None,
) -> Opened:
    """Load a pack with the backbone it names, or `backbone`, in the number format of its tuning, or `precision`.

    `settings` replace the task's own of that name (see `m6rec_core.assemble.load_pack`). `task`: the pack has to be of
    this one. Raises PackError, BackboneError, RegistryError, ConfigError in one line that says what to do.
    """
    manifest = read_manifest(path)
    if task is not None and manifest.task != task:
        raise PackError(f"{path} is a pack of task {manifest.task!r}; give one of a run of {task!r}")
    load_task(manifest.task)  # a missing plugin shows before a backbone is fetched
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    dtype = resolve(precision or str(manifest.summary.get("precision", "auto")), device)
    if precision is None and dtype is torch.bfloat16 and device.type == "cpu" and not bf16_is_faster():
        say("note: the pack was tuned in bf16, which is slow on this machine; --precision fp32 is faster")
    try:
        loaded = load_backbone(backbone or manifest.backbone.name, dtype, device, say)
    except BackboneError as error:
        if backbone is not None:
            raise
        raise PackError(
            f"{path} was tuned on backbone {manifest.backbone.name!r}, which cannot be loaded ({error}); its folder "
            "can be named with --backbone"
        ) from error
    assembled, manifest = load_pack(path, loaded, load_task, settings)
    model = M6Rec(loaded, {assembled.tuned.task.name: assembled.tuned}, writer).eval()
    if 0 < assembled.tuned.tuning.late_layers < loaded.spec.layers:
        model.segments = open_cache(CacheConfig(), loaded, say)
    return Opened(assembled.tuned.task, manifest, loaded, assembled, model, device)


def summary_int(manifest: PackManifest, name: str) -> int | None:
    """A whole number of the pack's summary, None where it is not there."""
    value = manifest.summary.get(name)
    return value if isinstance(value, int) else None
