"""Checkpoints from which a killed run ends with the same result as one that was not killed.

A checkpoint is a folder `step-00000120` with `tensors.safetensors` (trainable parameters, the optimiser's moments, the
best parameters so far) and `state.json` (where the run stands and with which settings). Random numbers need no saving:
shuffling and dropout are functions of (seed, epoch) and (seed, step). The frozen backbone is never written. A folder
appears under its name only when it is complete and on disk.
"""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from m6rec_core.errors import RunError
from m6rec_core.training.history import finite

if TYPE_CHECKING:
    from torch import Tensor

FORMAT = 1
KEEP = 2
FOLDER = "checkpoints"
TENSORS = "tensors.safetensors"
STATE = "state.json"
PREFIX = "step-"


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Metrics of the model after `step` completed steps."""

    step: int
    metrics: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a run stands after `step` completed steps.

    `best` indexes `evaluations`. `stale` counts the evaluations since the best. `finished`: no step is left, or the
    run stopped early. `samples` seen and `seconds` spent so far.
    """

    step: int = 0
    samples: int = 0
    seconds: float = 0.0
    evaluations: tuple[Evaluation, ...] = ()
    best: int = -1
    stale: int = 0
    finished: bool = False


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What is saved: where the run stands, its fingerprint (setting -> value), and all tensors by name."""

    standing: Standing
    fingerprint: Mapping[str, str]
    tensors: Mapping[str, Tensor] = field(repr=False)


def with_prefix(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors under names that start with "prefix/"."""
    return {f"{prefix}/{name}": tensor for name, tensor in tensors.items()}


def under_prefix(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors whose names start with "prefix/", without it."""
    return {
        name.removeprefix(f"{prefix}/"): tensor for name, tensor in tensors.items() if name.startswith(f"{prefix}/")
    }


def save_checkpoint(folder: Path, checkpoint: Checkpoint, keep: int = KEEP) -> Path:
    """Write a checkpoint under `folder` and remove all but the last `keep`. Only the main process may call it.

    Returns:
        The checkpoint's own folder.

    Raises:
        RunError: when it cannot be written (a full disk, no permission); what was there before stays.
    """
    from safetensors.torch import save_file

    target = folder / f"{PREFIX}{checkpoint.standing.step:08d}"
    partial = folder / f".{target.name}.partial"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for leftover in folder.glob(f".{PREFIX}*"):
            shutil.rmtree(leftover)
        partial.mkdir()
        save_file(dict(checkpoint.tensors), partial / TENSORS)
        (partial / STATE).write_text(_to_json(checkpoint), encoding="utf-8")
        for name in (TENSORS, STATE):
            _to_disk(partial / name)
        if target.exists():
            target.rename(folder / f".{target.name}.replaced")
        partial.rename(target)
        _to_disk(folder)
        for old in [*checkpoints(folder)[:-keep], *folder.glob(f".{PREFIX}*")]:
            shutil.rmtree(old)
    except Exception as error:
        if not _is_write_failure(error):
            raise
        shutil.rmtree(partial, ignore_errors=True)
        raise RunError(f"cannot write checkpoint {target}: {error}; free space, then go on with --resume") from error
    return target


def checkpoints(folder: Path) -> list[Path]:
    """Return the complete checkpoints in a folder, oldest first."""
    return sorted(path for path in folder.glob(f"{PREFIX}*") if path.is_dir())


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint.

    Raises:
        RunError: when it is damaged or of another format.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    cure = "delete this folder to resume from the checkpoint before it, or start anew in another --output"
    try:
        state = json.loads((path / STATE).read_text(encoding="utf-8"))
        if state["format"] != FORMAT:
            raise RunError(f"checkpoint {path} has format {state['format']}, this version reads {FORMAT}: {cure}")
        standing = _standing(state["standing"])
        fingerprint = {str(key): str(value) for key, value in state["fingerprint"].items()}
        return Checkpoint(standing, fingerprint, load_file(path / TENSORS))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, SafetensorError) as error:
        raise RunError(f"checkpoint {path} is damaged ({error}): {cure}") from error


def check_fingerprint(path: Path, saved: Mapping[str, str], current: Mapping[str, str]) -> None:
    """Refuse to resume a run with other settings or data than it was started with.

    Raises:
        RunError: naming the first setting that differs and both values.
    """
    for key in sorted({*saved, *current}):
        before, now = saved.get(key, "nothing"), current.get(key, "nothing")
        if before != now:
            raise RunError(
                f"cannot resume {path}: {key} was {before} and is now {now}; "
                "use the settings and data the run was started with, or start anew in another --output"
            )


def _to_json(checkpoint: Checkpoint) -> str:
    state = {
        "format": FORMAT,
        "standing": finite(asdict(checkpoint.standing)),
        "fingerprint": dict(checkpoint.fingerprint),
    }
    return json.dumps(state, indent=1, allow_nan=False)


def _standing(state: Mapping[str, Any]) -> Standing:
    evaluations = tuple(
        Evaluation(entry["step"], {k: math.nan if v is None else float(v) for k, v in entry["metrics"].items()})
        for entry in state["evaluations"]
    )
    return Standing(**{**state, "evaluations": evaluations})


def _to_disk(path: Path) -> None:
    """Ask the system to write a file or folder out, so that a power cut cannot leave a name without its content."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _is_write_failure(error: Exception) -> bool:
    """Say whether writing failed for want of space or rights: safetensors reports those in an error of its own."""
    from safetensors import SafetensorError

    return isinstance(error, (OSError, SafetensorError))
