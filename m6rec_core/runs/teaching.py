"""The teacher of a run: its pack is opened on the run's own backbone, its states of the training rows computed once.

They are kept in a file beside the teacher's pack, by content: for all epochs, resumes and runs with the same rows.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from m6rec_core.assemble import encode, load_pack
from m6rec_core.errors import ConfigError
from m6rec_core.files import replacing
from m6rec_core.model import M6Rec, TunedTask
from m6rec_core.runs.files import PACK
from m6rec_core.runs.progress import counting
from m6rec_core.runs.record import Prepared
from m6rec_core.serving.distinct import distinct_rows, read_states
from m6rec_core.tokens.batching import Encoded
from m6rec_core.tuning.modes import MODES
from m6rec_core.tuning.pack import PackManifest, read_manifest
from m6rec_core.tuning.teaching import Teaching, start_as
from m6rec_core.types import ClassHead

if TYPE_CHECKING:
    from accelerate import Accelerator
    from torch import Tensor

_STATES = "states"


def attach_teacher(
    prepared: Prepared, model: M6Rec, accelerator: Accelerator, shown: bool, say: Callable[[str], None]
) -> Teaching | None:
    """Let `tuning.teacher` teach the model's task, and start from it where `tuning.init` says so; None without one.

    Raises ConfigError for a teacher of another task, or one whose backbone was tuned; PackError for another backbone.
    """
    tuning = prepared.config.tuning
    if tuning.teacher is None or not prepared.parts["train"].samples:
        return None
    path, teacher, manifest = _opened(Path(tuning.teacher), prepared)
    samples = prepared.rows.samples("train")
    encoded = encode(prepared.task.name, teacher, samples, prepared.backbone).samples
    counts = [len(one.rows) for one in encoded]
    if counts != [len(one.rows) for one in prepared.parts["train"].encoded]:
        raise ConfigError(
            f"tuning.teacher {path} writes another number of text rows per sample: tune it with the same settings"
        )
    key = _key(manifest, prepared, encoded)
    states = _known_or_computed(path, key, prepared, teacher, encoded, accelerator, shown, say)
    chooses = isinstance(prepared.assembled.tuned.head, ClassHead)
    options = teacher.tuning.options() if chooses else None
    teaching = Teaching(
        key, states, counts, None if options is None else options.detach().clone(), tuning.teacher_weight,
        tuning.teacher_score_weight,
    )  # fmt: skip
    if tuning.init == "teacher":
        own = prepared.assembled.tuned
        copied = start_as(own.tuning, teacher.tuning) + start_as(own.head, teacher.head)
        say(f"start       {copied} tensors of the teacher")
    model.teachers[prepared.task.name] = teaching
    return teaching


def _opened(folder: Path, prepared: Prepared) -> tuple[Path, TunedTask, PackManifest]:
    """The teacher's pack folder, its tuned parts on the run's backbone, and its manifest."""
    path = folder / PACK if (folder / PACK).is_dir() else folder
    manifest = read_manifest(path)
    if manifest.task != prepared.task.name:
        raise ConfigError(
            f"tuning.teacher {path} is a pack of task {manifest.task}: give one of task {prepared.task.name}"
        )
    if MODES[manifest.tuning.mode].backbone:
        raise ConfigError(
            f"tuning.teacher {path} was tuned in the mode {manifest.tuning.mode}, which changed the backbone; a "
            "teacher shares it: give a pack of another mode"
        )
    assembled, manifest = load_pack(path, prepared.backbone, lambda _name: prepared.task)
    return path, assembled.tuned, manifest


def _key(manifest: PackManifest, prepared: Prepared, encoded: Sequence[Encoded]) -> str:
    """Digest of all that the states depend on: the teacher, the backbone and its number format, and the rows."""
    digest = sha256()
    for part in (manifest.tensors_sha256, manifest.tuning.model_dump_json(), manifest.plan.model_dump_json(),
                 prepared.backbone.spec.sha256, str(prepared.backbone.dtype)):  # fmt: skip
        digest.update(f"{part};".encode())
    for one in encoded:
        digest.update(f"{len(one.rows)};".encode())
        for row in one.rows:
            numbers = (len(row.ids), row.source, row.readout, row.pooled, *row.ids, *row.segments)
            digest.update(array("q", numbers).tobytes())
    return digest.hexdigest()


def _known_or_computed(
    path: Path,
    key: str,
    prepared: Prepared,
    teacher: TunedTask,
    encoded: Sequence[Encoded],
    accelerator: Accelerator,
    shown: bool,
    say: Callable[[str], None],
) -> Tensor:
    """The teacher's states [R, D] of the rows, on the run's device, from the file beside its pack or computed."""
    file = path.with_name(f"{path.name}.{_STATES}") / f"{key[:32]}.safetensors"
    total = sum(len(one.rows) for one in encoded)
    states = _read(file, total, prepared.backbone.spec.hidden)
    accelerator.wait_for_everyone()  # all processes look before one of them writes
    if states is not None:
        say(f"teacher     {path}, states of {total:,} rows from {file.name}")
        return states.to(accelerator.device)
    name, found = prepared.task.name, distinct_rows(encoded)
    reader = M6Rec(prepared.backbone, {name: teacher}).to(accelerator.device)
    share = -(-len(found.rows) // accelerator.num_processes)
    with counting("the teacher reads training rows", share, shown) as tick:
        budget = prepared.config.training.pack_tokens
        states = read_states(reader, name, found, budget, accelerator.device, accelerator, tick).rows
    say(f"teacher     {path}, states of {total:,} rows computed")
    if accelerator.is_main_process:
        try:
            with replacing(file) as partial:
                save_file({_STATES: states.cpu().contiguous()}, partial)
        except (OSError, SafetensorError) as error:
            say(f"teacher     its states cannot be kept in {file.parent} ({error}); the next run computes them again")
    return states


def _read(file: Path, rows: int, width: int) -> Tensor | None:
    """States kept before, None where there are none or the file is damaged."""
    try:
        states = load_file(file)[_STATES]
    except (OSError, SafetensorError, KeyError):
        return None
    return states if tuple(states.shape) == (rows, width) and states.dtype in _FORMATS else None


_FORMATS = (torch.float32, torch.float64)
