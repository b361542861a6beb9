"""One process, two gloo processes and gradient accumulation: the same losses, metrics and parameters (design 9.4)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from m6rec_core.training.history import NAME, read_history

TOY = Path(__file__).parents[1] / "training" / "toy_run.py"
TINY = Path(__file__).parent / "tiny_run.py"
SETTINGS = {"epochs": 2, "lr": 0.02, "packs_per_step": 5, "packs_per_forward": 5, "evaluations": 3}
ROWS = {TOY: 31, TINY: 12}


def launch(
    script: Path, output: Path, ranks: int = 1, flags: tuple[str, ...] = (), **settings: Any
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Run a script on `ranks` processes; returns its result and its history."""
    output.mkdir()
    launcher = ["-m", "torch.distributed.run", "--nproc_per_node", str(ranks)] if ranks > 1 else []
    if ranks > 1:
        launcher += ["--rdzv-backend", "c10d", "--rdzv-endpoint", "localhost:0"]
    command = [sys.executable, *launcher, str(script), str(output), "--ranks", str(ranks)]
    command += ["--config", json.dumps({**SETTINGS, **settings}), *flags]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads((output / "result.json").read_text()), read_history(output / NAME)


def assert_same(a: Any, b: Any, tolerance: float) -> None:
    """Compare nested lists and dictionaries of numbers."""
    if isinstance(a, dict):
        assert a.keys() == b.keys()
        for key in a:
            assert_same(a[key], b[key], tolerance)
    elif isinstance(a, list):
        assert len(a) == len(b)
        for x, y in zip(a, b, strict=True):
            assert_same(x, y, tolerance)
    else:
        assert a == pytest.approx(b, rel=0, abs=tolerance)


def assert_ranks_agree(
    script: Path,
    tmp_path: Path,
    tolerance: float,
    variants: list[tuple[int, dict[str, Any]]],
    flags: tuple[str, ...] = (),
) -> None:
    """Run the script in one process and in each variant (ranks, settings) and compare all that came out."""
    reference, history = launch(script, tmp_path / "reference", flags=flags)
    assert reference["rows"] == ROWS[script]
    assert len(history) > 4
    for number, (ranks, settings) in enumerate(variants):
        result, rows = launch(script, tmp_path / str(number), ranks, flags, **settings)
        assert result["rows"] == ROWS[script]
        assert result["samples"] == reference["samples"]
        assert_same(result, reference, tolerance)
        for field in ("step", "epoch", "samples", "loss", "losses", "lr", "grad_norm", "valid"):
            assert_same([row.get(field, 0) for row in rows], [row.get(field, 0) for row in history], tolerance)


def test_toy_of_two_tasks_is_the_same_on_ranks_and_accumulated(tmp_path: Path) -> None:
    variants: list[tuple[int, dict[str, Any]]] = [(1, {"packs_per_forward": 2}), (2, {}), (2, {"packs_per_forward": 1})]
    assert_ranks_agree(TOY, tmp_path, 1e-11, variants)


def test_idle_rank_changes_nothing(tmp_path: Path) -> None:
    """With one pack to a step the second rank repeats it with weight zero."""
    settings = {"packs_per_step": 1, "max_steps": 6}
    one, _ = launch(TOY, tmp_path / "one", 1, **settings)
    two, _ = launch(TOY, tmp_path / "two", 2, **settings)
    assert_same(two, one, 1e-11)


def test_model_of_two_tasks_is_the_same_on_ranks_and_accumulated(tmp_path: Path) -> None:
    """The real model on the tiny backbone; the markers' embeddings occur in no row, so no rank has their gradient."""
    assert_ranks_agree(TINY, tmp_path, 1e-9, [(1, {"packs_per_forward": 2}), (2, {"packs_per_forward": 2})])


def test_negatives_of_the_whole_step_are_the_same_on_ranks_and_accumulated(tmp_path: Path) -> None:
    """A task of batch scope beside one of row scope: forwards with rows of both, of one, and repeated ones."""
    variants: list[tuple[int, dict[str, Any]]] = [(1, {"packs_per_forward": 1}), (2, {"packs_per_forward": 2})]
    assert_ranks_agree(TINY, tmp_path, 1e-9, variants, ("--pairs",))


def test_an_idle_rank_changes_nothing_in_the_negatives(tmp_path: Path) -> None:
    settings = {"packs_per_step": 1, "max_steps": 4}
    one, _ = launch(TINY, tmp_path / "one", 1, ("--pairs",), **settings)
    two, _ = launch(TINY, tmp_path / "two", 2, ("--pairs",), **settings)
    assert_same(two, one, 1e-10)


@pytest.mark.parametrize("flags", [("--late",), ("--late", "--pairs")])
def test_prompts_that_run_once_a_step_below_the_cache_are_tuned_as_in_every_forward(tmp_path: Path, flags) -> None:
    """From the segment cache the forwards of a step share their prompts' states; the reference step is one forward."""
    variants: list[tuple[int, dict[str, Any]]] = [(1, {"packs_per_forward": 1}), (2, {"packs_per_forward": 1})]
    assert_ranks_agree(TINY, tmp_path, 1e-5, variants, flags)
