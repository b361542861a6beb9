"""A task on the bare backbone, for tasks that can answer without tuning."""

from __future__ import annotations

import torch

from m6rec_core.assemble import assemble
from m6rec_core.backbone.load import load_backbone
from m6rec_core.backbone.precision import name_of, resolve
from m6rec_core.config import TaskConfig, TuningConfig
from m6rec_core.hookspecs import HOOK_API
from m6rec_core.model import M6Rec
from m6rec_core.registry import load_task
from m6rec_core.serving.opening import Opened, Say
from m6rec_core.tuning.pack import PackManifest, PackPlugin, pack_backbone

NOTHING_TUNED = TuningConfig(mode="adapter", adapter_layers=0, train_markers=False, init="informed")
"""No soft prompt and no adapter: hidden states are the backbone's own."""


def open_untuned(
    task: str, settings: TaskConfig, backbone: str, precision: str = "auto", say: Say = lambda _line: None
) -> Opened:
    """Put an installed task on a backbone (known name, folder or hub id) without a task pack.

    The answers are the backbone's own where the task's head has no parameters. Raises RegistryError for an unknown
    task, BackboneError for a backbone that cannot be loaded.
    """
    loaded_task = load_task(task)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    dtype = resolve(precision, device)
    loaded = load_backbone(backbone, dtype, device, say)
    assembled = assemble(loaded_task, settings, NOTHING_TUNED, loaded, seed=0)
    manifest = PackManifest(
        task=task,
        hook_api=HOOK_API,
        backbone=pack_backbone(loaded.spec),
        plugin=PackPlugin(distribution=loaded_task.distribution, version=loaded_task.version),
        settings=assembled.tuned.config.model_dump(mode="json"),
        tuning=NOTHING_TUNED,
        plan=assembled.plan,
        summary={"precision": name_of(dtype)},
    )
    model = M6Rec(loaded, {task: assembled.tuned}).eval()
    return Opened(loaded_task, manifest, loaded, assembled, model, device)
