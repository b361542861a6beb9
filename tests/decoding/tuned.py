"""Differently tuned instances of a tiny writing task over one tiny backbone."""

from __future__ import annotations

from types import ModuleType

import torch
from torch import nn

from m6rec_core.backbone.hf import Backbone
from m6rec_core.config import DecodingConfig, TaskConfig, TuningConfig
from m6rec_core.decoding.writing import writer
from m6rec_core.hookspecs import HOOK_API, hookimpl
from m6rec_core.model import M6Rec
from m6rec_core.registry import task_from_module
from m6rec_core.testing import build_tuned, tiny_backbone
from m6rec_core.testing.building import perturb
from m6rec_core.types import Prediction, Region, Sample, Segment, Serialized, TaskManifest, TextRow

NAMES = ("one", "two", "three", "four")
WORDS = ("Heat: liked\n", "A user.", "The Matrix", " loved by most", ": disliked\n", "boots", " Yes", " naïve 🙂")


class Prompted(Sample):
    text: str


class Said(Prediction):
    text: str


def serialize_sample(sample, config):
    return Serialized((text_row(sample.text),))


def build_head(config, backbone):
    return nn.Linear(backbone.hidden, 1)


def compute_loss(head, view):
    return (head(view.hidden)[:, 0] - 1.0).square()


def decode(head, view, generate):
    texts = generate.write([text_row(s.text) for s in view.samples], DecodingConfig(max_new_tokens=5))
    return [Said(id=s.id, text=t.text) for s, [t] in zip(view.samples, texts, strict=True)]


def writing_task():
    module = ModuleType("writing")
    module.MANIFEST = TaskManifest(
        task="writing", summary="continues a text", hook_api=(HOOK_API, HOOK_API), sample=Prompted, prediction=Said,
        config=TaskConfig, label_field="", score_field="",
    )  # fmt: skip
    for hook in (serialize_sample, build_head, compute_loss, decode):
        setattr(module, hook.__name__, hookimpl(hook))
    return task_from_module(module)


def text_row(source: str, target: str = "", markers: bool = True) -> TextRow:
    segments = [Segment(source, Region.BIDIRECTIONAL)]
    if target:
        segments.append(Segment(target, Region.AUTOREGRESSIVE))
    return TextRow(tuple(segments), markers=markers)


def tuned_model(
    family: str = "llama", attention: str = "causal", dtype: torch.dtype = torch.float64, kernel: str = "plain"
) -> M6Rec:
    """Four instances with other prompts, another number of them, adapters in other layers."""
    backbone: Backbone = tiny_backbone(family, attention=attention, dtype=dtype, kernel=kernel)
    task = writing_task()
    tasks = {}
    for i, name in enumerate(NAMES):
        config = TaskConfig(instruction=f"Write what {name} likes.", max_tokens=128)
        layers = None if i == 0 else i - 1
        tuning = TuningConfig(mode="adapter" if i == 3 else "option-adapter", budget=0.9, prompts=2 + i,
                              adapter_layers=max(layers, 1) if layers is not None else None)  # fmt: skip
        tasks[name] = perturb(build_tuned(task, config, backbone, tuning, seed=i), i, 0.15)
    return M6Rec(backbone, tasks, writer).eval()
