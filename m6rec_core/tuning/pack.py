"""The task pack: a folder with `pack.safetensors` (what was tuned) and `pack.json` (what it belongs to).

A pack holds the live values exactly: each tensor is stored in the smallest of float16, bfloat16, float32 (or its own
dtype) that loses nothing. `round_to_pack` makes that two bytes a number, and is called before the final evaluation, so
that what was evaluated is what was saved.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from pydantic import Field, JsonValue, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from m6rec_core.config import TuningConfig
from m6rec_core.errors import PackError
from m6rec_core.files import sha256_of, whole_folder
from m6rec_core.tuning.budget import TuningPlan
from m6rec_core.tuning.task import TaskTuning
from m6rec_core.types import BackboneSpec, FrozenModel

PACK_FORMAT = 1
MANIFEST_FILE = "pack.json"
TENSOR_FILE = "pack.safetensors"
STORED_DTYPES = (torch.float16, torch.bfloat16, torch.float32)
ROUNDING_LIMIT = 1e-3
"""A tensor is rounded to float16 when that moves it by at most this part of its own size (root mean square)."""


class PackBackbone(FrozenModel):
    """The backbone a pack was tuned on; `name` tells the user, `sha256` and the sizes decide."""

    name: str
    sha256: str
    hidden: int
    layers: int


class PackPlugin(FrozenModel):
    """The distribution that holds the task's plugin."""

    distribution: str
    version: str


class PackManifest(FrozenModel):
    """`pack.json`. Unknown fields are refused.

    `settings`: the task's full settings as JSON. `plan`: the sizes needed to build the tuned parts again. `summary`:
    how training went. `tensors_sha256`: of `pack.safetensors`, filled in by `save_pack`.
    """

    format: int = PACK_FORMAT
    task: str
    hook_api: int
    backbone: PackBackbone
    plugin: PackPlugin
    settings: dict[str, JsonValue] = Field(default_factory=dict)
    tuning: TuningConfig
    plan: TuningPlan
    summary: dict[str, JsonValue] = Field(default_factory=dict)
    tensors_sha256: str = ""


def pack_backbone(spec: BackboneSpec) -> PackBackbone:
    """Return what a pack records of a backbone."""
    return PackBackbone(name=spec.name, sha256=spec.sha256, hidden=spec.hidden, layers=spec.layers)


@torch.no_grad()
def round_to_pack(tuning: nn.Module, head: nn.Module) -> None:
    """Round the parameters in place to what a small pack holds; buffers stay. Doing it again changes nothing.

    float16 rather than bfloat16: on values the size of embeddings and weights its error is 8 times smaller. Tensors it
    does not suit (beyond 65,504, or so small that more than `ROUNDING_LIMIT` of them would be lost) stay float32.
    """
    for parameter in [*tuning.parameters(), *head.parameters()]:
        half = parameter.half()
        suits = bool(torch.isfinite(half).all()) and _rms(parameter - half.to(parameter.dtype)) <= (
            ROUNDING_LIMIT * _rms(parameter)
        )
        parameter.copy_(half if suits else parameter.float())


def save_pack(
    path: Path,
    tuning: TaskTuning,
    head: nn.Module,
    manifest: PackManifest,
    *,
    backbone_state: Mapping[str, Tensor] | None = None,
    overwrite: bool = False,
) -> PackManifest:
    """Write a task pack to the folder `path` at once or not at all; return the manifest as written.

    `backbone_state` holds the backbone's tensors in the mode fine-tuning; the pack is then as large as the backbone.
    Raises PackError when `path` exists (unless `overwrite` and it is a pack), a tensor is not finite, or the disk
    refuses.
    """
    _check_target(path, overwrite)
    tensors = _state(tuning, head)
    tensors.update({f"backbone.{name}": _stored(value) for name, value in (backbone_state or {}).items()})
    for name, value in tensors.items():
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise PackError(
                f"{path}: tensor {name} holds numbers that are not finite, so training diverged: lower training.lr"
            )
    try:
        with whole_folder(path) as partial:
            save_file(tensors, partial / TENSOR_FILE)
            (partial / TENSOR_FILE).chmod(0o644)  # safetensors writes for the owner alone
            written = manifest.model_copy(update={"tensors_sha256": sha256_of(partial / TENSOR_FILE)})
            (partial / MANIFEST_FILE).write_text(written.model_dump_json(indent=2) + "\n", encoding="utf-8")
    except (OSError, SafetensorError) as error:
        raise PackError(
            f"cannot write the task pack {path}: {error}: free some space or choose another folder"
        ) from error
    return written


def read_manifest(path: Path) -> PackManifest:
    """Read and check `pack.json` of the pack folder `path`; PackError names the file, the field and the cure."""
    file = path / MANIFEST_FILE
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise PackError(
            f"{path} is not a task pack: {MANIFEST_FILE} is missing; give the folder that m6rec run wrote"
        ) from error
    except (OSError, ValueError) as error:
        raise PackError(f"{file} cannot be read: {error}: copy the task pack again") from error
    version = content.get("format") if isinstance(content, dict) else None
    if version != PACK_FORMAT:
        raise PackError(
            f"{file}: field format is {version!r}, but this m6rec-core reads {PACK_FORMAT}: install the m6rec-core "
            "that wrote it"
        )
    try:
        return PackManifest.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise PackError(f"{file}: field {field}: {first['msg']}: copy the task pack again") from error


def check_pack(path: Path, manifest: PackManifest, spec: BackboneSpec, hook_api: int) -> None:
    """Raise PackError unless the pack at `path` was tuned on the backbone `spec`, under this version of the hooks."""
    tuned_on = manifest.backbone
    if (tuned_on.sha256, tuned_on.hidden, tuned_on.layers) != (spec.sha256, spec.hidden, spec.layers):
        raise PackError(
            f"{path} was tuned on backbone {_describe(tuned_on)}, not on {_describe(pack_backbone(spec))}: "
            f"use --backbone {tuned_on.name} with the same weights, or tune task {manifest.task} again on this one"
        )
    if manifest.hook_api != hook_api:
        raise PackError(
            f"{path} was made under hook API {manifest.hook_api}, but this m6rec-core has {hook_api}: install the "
            f"m6rec-core and {manifest.plugin.distribution} that made it, or tune task {manifest.task} again"
        )


def load_state(path: Path, tuning: TaskTuning, head: nn.Module) -> dict[str, Tensor]:
    """Load the tensors of the pack at `path` into `tuning` and `head`; return the backbone's (fine-tuning) or {}.

    `tuning` and `head` were built from the pack's own plan and settings. Raises PackError when the file is missing,
    differs from what was written, or does not fit them; then nothing was changed.
    """
    manifest = read_manifest(path)
    file = path / TENSOR_FILE
    try:
        if sha256_of(file) != manifest.tensors_sha256:
            raise PackError(f"{file} is damaged (its sha256 differs from {MANIFEST_FILE}): copy the task pack again")
        tensors = load_file(file)
    except FileNotFoundError as error:
        raise PackError(f"{path} is incomplete: {TENSOR_FILE} is missing; copy the task pack again") from error
    except (OSError, SafetensorError) as error:
        raise PackError(f"{file} cannot be read: {error}: copy the task pack again") from error
    backbone = {name.removeprefix("backbone."): t for name, t in tensors.items() if name.startswith("backbone.")}
    own = {name: value for name, value in tensors.items() if not name.startswith("backbone.")}
    expected = _shapes(tuning, head)
    _check_shapes(file, manifest, {name: tuple(value.shape) for name, value in own.items()}, expected)
    for prefix, module in (("tuning.", tuning), ("head.", head)):
        module.load_state_dict({k.removeprefix(prefix): v for k, v in own.items() if k.startswith(prefix)})
    return backbone


def _check_target(path: Path, overwrite: bool) -> None:
    """Refuse a path that is taken; with `overwrite`, refuse only what is not a task pack and nothing else."""
    if not path.exists():
        return
    if not overwrite:
        raise PackError(f"{path} exists already: choose another folder, or remove it first")
    if not path.is_dir() or {entry.name for entry in path.iterdir()} - {MANIFEST_FILE, TENSOR_FILE}:
        raise PackError(f"{path} is not just a task pack, so it is not overwritten: choose another folder")


def _state(tuning: nn.Module, head: nn.Module) -> dict[str, Tensor]:
    """Return the tensors of a pack under their names, in the dtypes they are stored in."""
    found = {f"tuning.{name}": value for name, value in tuning.state_dict().items()}
    found.update({f"head.{name}": value for name, value in head.state_dict().items()})
    return {name: _stored(value) for name, value in found.items()}


def _stored(value: Tensor) -> Tensor:
    """Return an own, contiguous copy on the CPU, in the first of `STORED_DTYPES` that holds it exactly, or as it is."""
    copy = value.detach().cpu().clone(memory_format=torch.contiguous_format)
    if not copy.is_floating_point():
        return copy
    for dtype in STORED_DTYPES:
        if dtype.itemsize < copy.dtype.itemsize and torch.equal(copy.to(dtype).to(copy.dtype), copy):
            return copy.to(dtype)
    return copy


def _shapes(tuning: nn.Module, head: nn.Module) -> dict[str, tuple[int, ...]]:
    shapes = {f"tuning.{name}": tuple(value.shape) for name, value in tuning.state_dict().items()}
    shapes.update({f"head.{name}": tuple(value.shape) for name, value in head.state_dict().items()})
    return shapes


def _check_shapes(
    file: Path, manifest: PackManifest, held: dict[str, tuple[int, ...]], expected: dict[str, tuple[int, ...]]
) -> None:
    """Raise PackError naming the first tensor that is missing, unknown or of another shape."""
    for name in sorted(held.keys() | expected.keys()):
        if held.get(name) != expected.get(name):
            raise PackError(
                f"{file}: tensor {name} is {held.get(name, 'missing')} in the pack and {expected.get(name, 'unknown')} "
                f"in the installed task {manifest.task}: install {manifest.plugin.distribution} "
                f"{manifest.plugin.version}, which made it"
            )


def _describe(backbone: PackBackbone) -> str:
    return f"{backbone.name} (sha256 {backbone.sha256[:12]}, {backbone.layers} layers of {backbone.hidden})"


def _rms(values: Tensor) -> float:
    """Return the root mean square; 0 for no values."""
    return float(values.double().square().mean().sqrt()) if values.numel() else 0.0
