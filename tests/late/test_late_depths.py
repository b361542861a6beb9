"""`m6rec bench late`: the curve of the first metric and latency over the number of upper layers."""

from __future__ import annotations

import json

import pytest

from m6rec_core.cli import main
from m6rec_core.runs.depths import Depth, depth_table


def test_the_command_writes_a_table_and_a_picture(films, tmp_path, capsys):
    known = [
        "tuning.budget=0.9", "tuning.prompts=4", "training.precision=fp32", "training.pack_tokens=240", "shots=80",
        "evaluation.rows=40", "evaluation.valid_rows=40", "evaluation.bootstrap=20", "training.max_steps=1",
        "settings.sampling.history.events=1", "settings.sampling.history.stride=2",
    ]  # fmt: skip
    settings = [part for setting in known for part in ("--set", setting)]
    depths = ["--layers", "0", "--layers", "1"]
    with pytest.raises(SystemExit) as done:
        main(["bench", "late", "--data", str(films.logs), "--backbone", str(films.backbone), "--output",
              str(tmp_path / "late"), *depths, *settings])  # fmt: skip
    assert done.value.code == 0
    found = json.loads((tmp_path / "late" / "late.json").read_text())
    assert [depth["late_layers"] for depth in found["depths"]] == [0, 1]
    assert all(depth["low"] <= depth["value"] <= depth["high"] for depth in found["depths"])
    assert (tmp_path / "late" / "late.png").read_bytes().startswith(b"\x89PNG")
    assert "full model" in capsys.readouterr().out


def test_losses_and_ratios_are_against_the_full_model():
    depths = [Depth(0, 10, 0.7, 0.6, 0.8, 90.0, 200.0, 5.0), Depth(3, 10, 0.65, 0.6, 0.7, 10.0, 200.0, 1.0)]
    _, rows = depth_table(depths, "auc")
    assert rows[1][3:6] == ["+0.0500", "10.0", "9.0"]
    assert depth_table(depths[1:], "auc")[1][0][3] == ""
