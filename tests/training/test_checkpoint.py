from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from m6rec_core.errors import RunError
from m6rec_core.training import checkpoint as files
from m6rec_core.training.checkpoint import Checkpoint, Evaluation, Standing

TENSORS = {"parameters/w": torch.arange(6.0).reshape(2, 3), "moments/step/w": torch.tensor(4.0)}


def at(step: int) -> Checkpoint:
    evaluations = (Evaluation(0, {"objective": 0.1, "gauc": math.nan}), Evaluation(step, {"objective": 1 / 3}))
    return Checkpoint(Standing(step, 7, 1.5, evaluations, best=1, stale=0), {"training.lr": "0.1"}, TENSORS)


def test_round_trip_is_exact(tmp_path: Path) -> None:
    found = files.load_checkpoint(files.save_checkpoint(tmp_path, at(12)))
    assert found.standing.step == 12
    assert found.standing.evaluations[1] == Evaluation(12, {"objective": 1 / 3})
    assert math.isnan(found.standing.evaluations[0].metrics["gauc"])
    assert found.fingerprint == {"training.lr": "0.1"}
    assert {name: t.tolist() for name, t in found.tensors.items()} == {n: t.tolist() for n, t in TENSORS.items()}


def test_only_the_last_two_stay(tmp_path: Path) -> None:
    for step in (5, 50, 100, 100):
        files.save_checkpoint(tmp_path, at(step))
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["step-00000050", "step-00000100"]


def test_unfinished_folders_are_not_checkpoints_and_go_away(tmp_path: Path) -> None:
    partial = tmp_path / ".step-00000007.partial"
    partial.mkdir()
    (partial / files.TENSORS).write_bytes(b"half")
    assert files.checkpoints(tmp_path) == []
    files.save_checkpoint(tmp_path, at(9))
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000009"]


def test_failure_to_write_leaves_the_old_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files.save_checkpoint(tmp_path, at(5))

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("safetensors.torch.save_file", full)
    with pytest.raises(RunError, match=r"step-00000006: .*No space left on device.*--resume"):
        files.save_checkpoint(tmp_path, at(6))
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000005"]
    assert files.load_checkpoint(tmp_path / "step-00000005").standing.step == 5


@pytest.mark.parametrize("name", [files.TENSORS, files.STATE])
@pytest.mark.parametrize("content", [b"", b"{}", b"\xff\xfe garbage", None])
def test_damage_is_one_line_with_a_cure(tmp_path: Path, name: str, content: bytes | None) -> None:
    path = files.save_checkpoint(tmp_path, at(5))
    if content is None:
        (path / name).unlink()
    else:
        (path / name).write_bytes(content)
    with pytest.raises(RunError, match=r"step-00000005 is damaged .*delete this folder") as caught:
        files.load_checkpoint(path)
    assert "\n" not in str(caught.value)


def test_other_format_is_refused(tmp_path: Path) -> None:
    path = files.save_checkpoint(tmp_path, at(5))
    state = json.loads((path / files.STATE).read_text())
    (path / files.STATE).write_text(json.dumps({**state, "format": 99}))
    with pytest.raises(RunError, match="format 99"):
        files.load_checkpoint(path)


def test_fingerprint_names_what_differs() -> None:
    path = Path("run")
    files.check_fingerprint(path, {"a": "1"}, {"a": "1"})
    with pytest.raises(RunError, match="a was 1 and is now 2"):
        files.check_fingerprint(path, {"a": "1"}, {"a": "2"})
    with pytest.raises(RunError, match="b was nothing and is now 2"):
        files.check_fingerprint(path, {}, {"b": "2"})
