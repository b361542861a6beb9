"""`m6rec run` on a tiny backbone: its files, and that neither a kill nor a second process changes a number."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from m6rec_core.registry import load_task
from m6rec_core.training.history import read_history
from m6rec_core.tuning.pack import TENSOR_FILE, read_manifest

ROOT = Path(__file__).parents[2]


def command(films, output: Path, *more: str) -> list[str]:
    return [sys.executable, "-m", "m6rec_core", *films.command(output, *more)]


def environment(films) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if k not in ("RANK", "WORLD_SIZE")}
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    return {**kept, "OMP_NUM_THREADS": "1", "M6REC_HOME": str(films.home), "PYTHONPATH": path}


def start(films, output: Path, *more: str) -> subprocess.CompletedProcess[str]:
    line = command(films, output, *more)
    return subprocess.run(
        line, env=environment(films), capture_output=True, text=True, timeout=300, check=False, cwd=output.parent
    )


def numbers(output: Path) -> dict[str, Any]:
    """metrics.json without what differs between any two runs: times."""
    found = json.loads((output / "metrics.json").read_text())
    found.pop("seconds")
    return found


def curve(output: Path) -> list[dict[str, Any]]:
    """The history without times and rates."""
    times = ("seconds", "samples_per_second", "tokens_per_second")
    return [{k: v for k, v in row.items() if k not in times} for row in read_history(output / "history.jsonl")]


def assert_same_curve(left: Path, right: Path) -> None:
    """Equal to rounding: matrix kernels may add in another order where memory is laid out otherwise."""
    for one, two in zip(curve(left), curve(right), strict=True):
        assert one.keys() == two.keys()
        for name, value in one.items():
            assert value == pytest.approx(two[name], rel=1e-5), (name, one["step"])


def test_a_run_leaves_every_file(finished_run, films):
    names = sorted(path.name for path in finished_run.iterdir())
    assert names == sorted(
        [
            "checkpoints",
            "config.yaml",
            "history.jsonl",
            "learning-curve.png",
            "metrics.json",
            "pack",
            "predictions.parquet",
        ]
    )
    config = yaml.safe_load((finished_run / "config.yaml").read_text())
    assert config["settings"]["domain"]["name"] == "movies"
    assert config["training"]["precision"] == "fp32"
    found = numbers(finished_run)
    assert list(found["comparison"]["models"]) == [
        "m6rec", "m6rec, text alone", "random", "item-mean", "logistic-regression",
    ]  # fmt: skip
    rows = found["protocol"]["rows"]
    assert [rows[part]["used"] for part in ("train", "valid", "test")] == [560, 70, 70]
    predictions = pd.read_parquet(finished_run / "predictions.parquet")
    assert len(predictions) == 70
    assert predictions["m6rec"].between(0, 1).all()
    assert (finished_run / "learning-curve.png").read_bytes().startswith(b"\x89PNG")
    manifest = read_manifest(finished_run / "pack")
    quick = load_task("ctr").manifest.quick
    assert (manifest.backbone.name, manifest.summary["shots"]) == ("tiny", quick["shots"])


def test_killed_and_resumed_gives_the_same_numbers(finished_run, films, tmp_path):
    output = tmp_path / "killed"
    process = subprocess.Popen(
        command(films, output), env=environment(films), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    until = time.monotonic() + 200
    while not list((output / "checkpoints").glob("step-*")):
        assert process.poll() is None, process.stderr.read()[-3000:]
        assert time.monotonic() < until, "no checkpoint was written"
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not (output / "metrics.json").exists()
    stopped = len(read_history(output / "history.jsonl"))
    refused = start(films, output)
    assert refused.returncode == 2
    assert "holds an unfinished run: go on with --resume" in refused.stderr

    # The settings come from the folder: the second command line names none.
    line = [sys.executable, "-m", "m6rec_core", "run", "--task", "ctr", "--output", str(output), "--resume"]
    done = subprocess.run(line, env=environment(films), capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert numbers(output) == numbers(finished_run)
    assert_same_curve(output, finished_run)
    assert stopped < len(curve(output))
    own, whole = (folder / "pack" / TENSOR_FILE for folder in (output, finished_run))
    assert own.read_bytes() == whole.read_bytes()
    pd.testing.assert_frame_equal(
        pd.read_parquet(output / "predictions.parquet"), pd.read_parquet(finished_run / "predictions.parquet")
    )


def test_two_processes_equal_one(finished_run, films, tmp_path):
    done = start(films, tmp_path / "two", "--num-processes", "2")
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stderr.count("rows        train") == 1, "one process speaks"
    assert done.stdout.count("model  ") == 1
    one, two = numbers(finished_run), numbers(tmp_path / "two")
    assert two["protocol"]["rows"] == one["protocol"]["rows"]
    assert two["protocol"]["rows"]["test"]["used"] == 70
    assert two["comparison"]["rows"] == one["comparison"]["rows"]
    assert two["training"]["samples"] == one["training"]["samples"] == 560
    for folder in (finished_run, tmp_path / "two"):
        assert yaml.safe_load((folder / "config.yaml").read_text())["tuning"]["init"] == "fitted"
        assert json.loads((folder / "metrics.json").read_text())["seconds"]["start"] > 0, "each fitted the options"
    assert [row["step"] for row in curve(tmp_path / "two")] == [row["step"] for row in curve(finished_run)]
    for left, right in zip(curve(finished_run), curve(tmp_path / "two"), strict=True):
        assert right.get("loss", 0.0) == pytest.approx(left.get("loss", 0.0), abs=1e-4)
        assert right.get("valid", {}) == pytest.approx(left.get("valid", {}), abs=1e-4)
    for name, model in one["comparison"]["models"].items():
        for metric, interval in model["all"].items():
            assert two["comparison"]["models"][name]["all"][metric] == pytest.approx(interval, abs=1e-4)
    left, right = (pd.read_parquet(f / "predictions.parquet") for f in (finished_run, tmp_path / "two"))
    assert left["id"].tolist() == right["id"].tolist()
    assert right["m6rec"].to_numpy() == pytest.approx(left["m6rec"].to_numpy(), abs=1e-4)
