"""history.jsonl: one JSON object per step, appended as it happens and cut back to the checkpoint on resume.

Fields of a row: `step` (completed steps), `epoch` (from 0), `samples` (seen so far), `loss` (the step's objective,
before its update), `losses` (mean per task, when tasks are named), `lr` (of the main group), `grad_norm` (before
clipping), `samples_per_second` and `tokens_per_second` (of this step), `seconds` (since the start, time before a resume
included), and on the rows where the model was evaluated `valid`: the metrics. Row 0 holds the evaluation before any
training. Numbers that are not finite are written as null.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from m6rec_core.errors import RunError

NAME = "history.jsonl"


class History:
    """Appends rows to a file; a row is on disk, for readers, as soon as `write` returns."""

    def __init__(self, path: Path, keep_until: int | None) -> None:
        """Open `path`: empty for `keep_until` None, otherwise cut back to the rows of steps up to `keep_until`.

        Raises:
            RunError: when the file cannot be written.
        """
        self.path = path
        rows = [] if keep_until is None else [row for row in read_history(path) if row["step"] <= keep_until]
        partial = path.with_suffix(".jsonl.partial")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            partial.write_text("".join(encode(row) for row in rows), encoding="utf-8")
            os.replace(partial, path)
        except OSError as error:
            raise RunError(f"cannot write {path}: {error.strerror}; free space or choose another --output") from error

    def write(self, row: Mapping[str, Any]) -> None:
        """Append one row.

        Raises:
            RunError: when the file cannot be written.
        """
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(encode(row))
        except OSError as error:
            raise RunError(f"cannot write {self.path}: {error.strerror}; free space and resume") from error


def encode(row: Mapping[str, Any]) -> str:
    """Return a row as one line of strict JSON with its line end."""
    return json.dumps(finite(row), ensure_ascii=False, allow_nan=False) + "\n"


def finite(value: Any) -> Any:
    """Return `value` with every NaN and infinity, however deep, replaced by None: JSON has neither."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: finite(member) for key, member in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(member) for member in value]
    return value


def read_history(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a history file, [] when there is none. A last line that a kill left unfinished is dropped.

    Raises:
        RunError: naming the line, when any other line is not a JSON object with a step.
    """
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    rows: list[dict[str, Any]] = []
    for number, line in enumerate(lines[:-1], start=1):
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            row = None
        if not isinstance(row, dict) or not isinstance(row.get("step"), int):
            raise RunError(f"{path}: line {number} is not a JSON object with a step: delete the line, or the file")
        rows.append(row)
    return rows
