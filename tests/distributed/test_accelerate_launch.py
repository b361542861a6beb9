"""`accelerate launch -m m6rec_core run`: the same run as `m6rec run`, started by the user's own launcher."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from m6rec_core.cli.launch import LAUNCHED

ROOT = Path(__file__).parents[2]


def launch(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name not in LAUNCHED}
    environment |= {"M6REC_HOME": str(home), "HF_HOME": str(home / "huggingface"), "OMP_NUM_THREADS": "1"}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    command = [sys.executable, "-m", "accelerate.commands.launch", "--cpu", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=500, check=False)


def test_one_process_is_the_same_run(films, finished_run, tmp_path):
    output = tmp_path / "launched"
    done = launch(films.home, "--num_processes", "1", "-m", "m6rec_core", *films.command(output))
    assert done.returncode == 0, done.stderr[-3000:]
    found, expected = (json.loads((run / "metrics.json").read_text()) for run in (output, finished_run))
    assert found["comparison"] == expected["comparison"]
    assert found["protocol"] == expected["protocol"]
    assert "lead of the model in AUC" in done.stdout
    assert (output / "pack" / "pack.json").is_file()


def test_a_mistake_is_one_line_of_ours_and_the_launcher_fails_too(films, tmp_path):
    arguments = [*films.command(tmp_path / "none"), "--set", "training.lrr=1"]
    done = launch(films.home, "--num_processes", "1", "-m", "m6rec_core", *arguments)
    assert done.returncode != 0
    assert "error: unknown setting 'training.lrr'; did you mean 'lr'?" in done.stderr.splitlines()
    assert not (tmp_path / "none").exists()


def test_several_processes_that_accelerate_does_not_start_are_refused(films, tmp_path):
    """On a CPU `accelerate launch --num_processes 2` starts one process and says nothing: we do."""
    done = launch(films.home, "--num_processes", "2", "-m", "m6rec_core", *films.command(tmp_path / "none"))
    assert done.returncode != 0
    assert "use `m6rec run --num-processes N` or torchrun" in done.stderr
    assert not (tmp_path / "none").exists()
