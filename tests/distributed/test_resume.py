"""A run killed in the middle and resumed ends with the same bits as one that was not."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from m6rec_core.training.history import NAME, read_history

TOY = Path(__file__).parents[1] / "training" / "toy_run.py"
SETTINGS = {"epochs": 3, "lr": 0.02, "packs_per_step": 6, "packs_per_forward": 2, "evaluations": 6, "checkpoints": 4}
TIMES = {"seconds", "samples_per_second", "tokens_per_second"}


def start(output: Path, *options: str, ranks: int = 1) -> subprocess.CompletedProcess[str]:
    """Run the toy with dropout, whose random numbers must come back too."""
    output.mkdir(exist_ok=True)
    launcher = ["-m", "torch.distributed.run", "--nproc_per_node", str(ranks)] if ranks > 1 else []
    if ranks > 1:
        launcher += ["--rdzv-backend", "c10d", "--rdzv-endpoint", "localhost:0"]
    command = [sys.executable, *launcher, str(TOY), str(output), "--ranks", str(ranks), "--dropout", "0.3"]
    command += ["--config", json.dumps(SETTINGS), *options]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)


def outcome(output: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The result and the history without times."""
    result = json.loads((output / "result.json").read_text())
    history = [{k: v for k, v in row.items() if k not in TIMES} for row in read_history(output / NAME)]
    return result, history


@pytest.mark.parametrize(
    ("kill_at", "ranks", "left"),
    [
        (8, 1, ["step-00000003", "step-00000006"]),
        (2, 1, []),
        (7, 2, ["step-00000003", "step-00000006"]),
    ],
    ids=["between-checkpoints", "before-the-first-checkpoint", "two-ranks"],
)
def test_killed_and_resumed_equals_uninterrupted(tmp_path: Path, kill_at: int, ranks: int, left: list[str]) -> None:
    whole = start(tmp_path / "whole", ranks=ranks)
    assert whole.returncode == 0, whole.stderr[-3000:]

    killed = start(tmp_path / "killed", "--kill-at", str(kill_at), ranks=ranks)
    assert killed.returncode == (-signal.SIGKILL if ranks == 1 else 1), killed.stderr[-3000:]
    assert not (tmp_path / "killed" / "result.json").exists()
    found = sorted(path.name for path in (tmp_path / "killed" / "checkpoints").glob("step-*"))
    assert found == left
    assert len(read_history(tmp_path / "killed" / NAME)) == kill_at + 1

    resumed = start(tmp_path / "killed", "--resume", ranks=ranks)
    assert resumed.returncode == 0, resumed.stderr[-3000:]
    expected, history = outcome(tmp_path / "whole")
    result, rows = outcome(tmp_path / "killed")
    expected.pop("rows")
    result.pop("rows")
    assert result == expected
    assert rows == history
    assert len(rows) == 13
