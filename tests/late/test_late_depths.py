"""`m6rec bench late`: the curve of the first metric and latency over the number of upper layers."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from m6rec_core.cli import main
from m6rec_core.config import TuningConfig
from m6rec_core.runs.depth_report import Point, depth_table
from m6rec_core.runs.requests import Asked, EightBit

KNOWN = [
    "tuning.budget=0.9", "tuning.prompts=4", "training.precision=fp32", "training.pack_tokens=240", "shots=80",
    "evaluation.rows=40", "evaluation.valid_rows=40", "evaluation.bootstrap=20", "training.max_steps=1",
    "settings.sampling.history.events=1", "settings.sampling.history.stride=2",
]  # fmt: skip


def bench(films, output, *more: str, code: int = 0) -> None:
    settings = [part for setting in KNOWN for part in ("--set", setting)]
    command = ["bench", "late", "--data", str(films.logs), "--backbone", str(films.backbone), "--output", str(output)]
    with pytest.raises(SystemExit) as done:
        main([*command, "--requests", "12", "--full-requests", "3", *settings, *more])
    assert done.value.code == code


def test_points_are_tuned_taught_measured_and_gone_on_with(films, tmp_path, capsys):
    output, depths = tmp_path / "late", ("--layers", "0", "--layers", "1")
    bench(films, output, *depths, "--student", "--teach")
    assert "full model" in capsys.readouterr().out
    found = json.loads((output / "late.json").read_text())["points"]
    assert [(p["late_layers"], p["student_layers"]) for p in found] == [(0, 0), (1, 0), (0, 1)]
    assert all(p["low"] <= p["value"] <= p["high"] for p in found)
    assert [p["asked"]["requests"] for p in found] == [3, 12, 3]
    late = found[1]
    assert 0 < late["asked"]["hit_rate"] < 1
    assert late["eight_bit"]["bytes_per_segment"] < 0.35 * late["asked"]["bytes_per_segment"]
    assert found[0]["lost"] is None
    assert late["lost"] == pytest.approx(found[0]["value"] - late["value"])
    assert (output / "late.png").read_bytes().startswith(b"\x89PNG")
    taught = json.loads((output / "student-1-0" / "pack" / "pack.json").read_text())["tuning"]
    assert (taught["student_layers"], taught["teacher"]) == (1, str(output / "full-0" / "pack"))
    capsys.readouterr()
    bench(films, output, *depths, "--student", "--teach", "--resume")
    assert capsys.readouterr().err.count("done before") == 3
    assert json.loads((output / "late.json").read_text())["points"] == found
    bench(films, tmp_path / "again", "--layers", "0", "--full", str(output / "full-0"), "--no-eight-bit")
    again = json.loads((tmp_path / "again" / "late.json").read_text())["points"]
    assert again[0]["value"] == pytest.approx(found[0]["value"], abs=1e-6)
    capsys.readouterr()
    bench(films, output, *depths, "--resume", "--set", "training.lr=0.5", code=2)
    assert "other settings" in capsys.readouterr().err


def point(late: int, value: float, p50: float, **more: object) -> Point:
    cached = {"hit_rate": 0.9, "bytes_per_segment": 20_000.0, "segments": 7} if late else {}
    return Point(late, 0, 0, 10, value, 0.6, 0.8, 5.0, Asked(100, 220.0, p50, 2 * p50, **cached), **more)


def test_losses_and_ratios_are_against_the_full_model():
    eight_bit = EightBit(0.649, 0.6, 0.7, 5_000.0)
    late = point(3, 0.65, 10.0, eight_bit=eight_bit, lost=0.05, lost_low=0.02, lost_high=0.08)
    points = [point(0, 0.7, 90.0), late]
    _, rows = depth_table(points, "auc")
    assert rows[1][:7] == ["K = 3", "10", "0.6500 [0.600, 0.800]", "+0.0500 [+0.0200, +0.0800]", "10.0", "20.0", "9.0"]
    assert rows[1][7:] == ["90.0%", "20.0", "0.6490", "5.0", "5"]
    assert rows[0][7:11] == ["", "", "", ""]
    assert depth_table(points[1:], "auc")[1][0][6] == ""


def test_seeds_become_one_line():
    points = [point(3, 0.65, 10.0), replace(point(3, 0.67, 12.0), seed=1)]
    _, rows = depth_table(points, "auc")
    assert len(rows) == 1
    assert rows[0][2] == "0.6600 (0.6500 to 0.6700) [0.600, 0.800]"
    assert rows[0][4] == "11.0"


def test_points_are_called_by_their_layers():
    assert replace(point(0, 0.6, 1.0), student_layers=3).name == "student, 3 layers"
    assert replace(point(2, 0.6, 1.0), student_layers=3).name == "K = 2 of 3 layers"
    with pytest.raises(ValueError, match="among those used"):
        TuningConfig(late_layers=3, student_layers=2)


def test_what_is_no_depth_is_refused(films, tmp_path, capsys):
    for wrong in ("three", "3/", "/3", "1/0", "-1"):
        bench(films, tmp_path / "late", "--layers", wrong, code=2)
        assert f"--layers {wrong!r}" in capsys.readouterr().err
    assert not (tmp_path / "late").exists()


def test_upper_layers_of_the_first_ones(films, tmp_path, capsys):
    output = tmp_path / "late"
    bench(films, output, "--layers", "1/2", "--layers", "0/2", "--no-eight-bit")
    found = json.loads((output / "late.json").read_text())["points"]
    assert [(p["late_layers"], p["student_layers"]) for p in found] == [(1, 2), (0, 2)]
    assert found[0]["asked"]["hit_rate"] > 0
    assert found[1]["asked"]["hit_rate"] is None
    assert "K = 1 of 2 layers" in capsys.readouterr().out
    assert (output / "layers-1-of-2-0" / "pack").is_dir()
