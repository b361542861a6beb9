from __future__ import annotations

import json
from pathlib import Path

import pytest

from m6rec_core.errors import RunError
from m6rec_core.training.history import NAME, History, read_history


def test_rows_after_the_checkpoint_are_cut_off(tmp_path: Path) -> None:
    history = History(tmp_path / NAME, None)
    for step in range(6):
        history.write({"step": step, "loss": step / 10})
    with (tmp_path / NAME).open("a") as file:
        file.write('{"step": 6, "lo')
    resumed = History(tmp_path / NAME, 3)
    resumed.write({"step": 4, "loss": 9.0})
    assert [(row["step"], row["loss"]) for row in read_history(tmp_path / NAME)] == [
        (0, 0.0), (1, 0.1), (2, 0.2), (3, 0.3), (4, 9.0),
    ]  # fmt: skip
    assert sorted(path.name for path in tmp_path.iterdir()) == [NAME]


def test_a_new_run_starts_empty(tmp_path: Path) -> None:
    History(tmp_path / NAME, None).write({"step": 1})
    assert read_history(History(tmp_path / NAME, None).path) == []
    assert read_history(tmp_path / "absent.jsonl") == []


def test_lines_are_strict_json_without_nan(tmp_path: Path) -> None:
    History(tmp_path / NAME, None).write({"step": 1, "valid": {"gauc": float("nan"), "auc": 0.5}, "all": [1e400]})
    (line,) = (tmp_path / NAME).read_text().splitlines()
    assert json.loads(line, parse_constant=lambda _: pytest.fail("not strict")) == {
        "step": 1, "valid": {"gauc": None, "auc": 0.5}, "all": [None],
    }  # fmt: skip


def test_damage_is_named_by_line(tmp_path: Path) -> None:
    path = tmp_path / NAME
    path.write_text('{"step": 1}\n[2]\n{"step": 3}\n')
    with pytest.raises(RunError, match="line 2"):
        read_history(path)


def test_unwritable_place_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match=r"cannot write .*history\.jsonl: .*--output"):
        History(tmp_path / "file" / NAME, None)
