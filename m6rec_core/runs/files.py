"""Where a run writes, and how: whole files or none, and never over another run."""

from __future__ import annotations

import json
import math
import os
import re
from pathlib import Path
from typing import Any

from m6rec_core.errors import RunError
from m6rec_core.files import replacing

METRICS = "metrics.json"
CONFIG = "config.yaml"
PREDICTIONS = "predictions.parquet"
PACK = "pack"
CURVE = "learning-curve.png"


def choose_output(asked: Path | None, label: str, resume: bool, root: Path = Path("runs")) -> Path:
    """The folder of a run: the one asked for, or `runs/<label>-<number>`.

    With `resume` and no folder: the newest unfinished run of that label. Raises RunError when the folder holds a
    finished run, or something else, or when there is nothing to resume.
    """
    if asked is not None:
        _check_free(asked, resume)
        _check_writable(asked)
        return asked
    pattern = re.compile(re.escape(label) + r"-(\d+)")
    taken = {int(m.group(1)): p for p in root.glob(f"{label}-*") if (m := pattern.fullmatch(p.name))}
    if resume:
        open_runs = [n for n, p in taken.items() if not (p / METRICS).exists()]
        if not open_runs:
            raise RunError(f"there is no unfinished run {root / label}-N to resume; name it with --output")
        return taken[max(open_runs)]
    return root / f"{label}-{max(taken, default=0) + 1}"


def _check_free(folder: Path, resume: bool) -> None:
    if folder.exists() and not folder.is_dir():
        raise RunError(f"{folder} is a file; give --output a folder")
    if (folder / METRICS).exists():
        raise RunError(f"{folder} already holds a finished run; choose another --output")
    if not folder.is_dir() or not any(folder.iterdir()):
        return
    if not (folder / CONFIG).is_file():
        raise RunError(f"{folder} is not empty and holds no run of m6rec; choose another --output")
    if not resume:
        raise RunError(f"{folder} holds an unfinished run: go on with --resume, or choose another --output")


def _check_writable(folder: Path) -> None:
    """Before any work is done: the nearest folder above that exists must be one, and take a new entry."""
    above = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    if not above.is_dir():
        raise RunError(f"{folder}: {above} is a file, not a folder; choose another --output")
    if not os.access(above, os.W_OK | os.X_OK):
        raise RunError(f"{folder}: no permission to write in {above}; choose another --output")


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically."""
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write JSON atomically; numbers that are not finite become null, since JSON has none."""
    write_text(path, json.dumps(finite(value), indent=2, ensure_ascii=False) + "\n")


def finite(value: Any) -> Any:
    """The same tree with null in place of nan and infinities."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {k: finite(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(v) for v in value]
    return value
