"""Runs of a task from the command line on a tiny backbone, in a folder of its own: what a user does, in seconds."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

import torch

from m6rec_core.testing.tiny import tiny_backbone, tiny_tokenizer

SETTINGS = ("training.precision=fp32", "evaluation.bootstrap=20", "tuning.budget=0.9", "evaluation.rows=6")
"""What makes a run on a tiny backbone short; a tenth of it is more than 1 %."""


@dataclass(frozen=True, slots=True)
class Trial:
    """A folder, and the folder of a tiny backbone in it."""

    folder: Path
    backbone: Path

    @property
    def pack(self) -> Path:
        """The task pack of the run whose output is `folder / "run"`."""
        return self.folder / "run" / "pack"

    def run(self, task: str, output: Path, *settings: str, data: Path | None = None) -> int:
        """`m6rec run` of a task with SETTINGS and more `--set` after them; return the exit code."""
        given = [part for setting in (*SETTINGS, *settings) for part in ("--set", setting)]
        source = [] if data is None else ["--data", data]
        return call("run", "--task", task, *source, "--backbone", self.backbone, "--output", output, *given)


def call(*arguments: object) -> int:
    """Run `m6rec` with arguments; return the exit code. Raises AssertionError when it does not exit."""
    from m6rec_core.cli import main

    try:
        main([str(argument) for argument in arguments])
    except SystemExit as done:
        return done.code if isinstance(done.code, int) else int(done.code is not None)
    raise AssertionError("m6rec did not exit")


@contextmanager
def tiny_trial(folder: Path) -> Iterator[Trial]:
    """A `Trial` in `folder`, which is M6REC_HOME's and HF_HOME's place as well while the context lasts."""
    homes = {"M6REC_HOME": str(folder / "home"), "HF_HOME": str(folder / "huggingface")}
    with patch.dict(os.environ, homes):
        tiny_backbone(dtype=torch.float32).decoder.save_pretrained(folder / "tiny")
        tiny_tokenizer().save_pretrained(folder / "tiny")
        yield Trial(folder, folder / "tiny")
