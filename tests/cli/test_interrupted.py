"""A run that is interrupted says how to go on, and goes on to the same end."""

from __future__ import annotations

import json

import pytest

from m6rec_core.cli import main


def test_interrupted_says_how_to_go_on(finished_run, films, tmp_path, capsys, monkeypatch):
    def interrupted(*_arguments, **_named):
        raise KeyboardInterrupt

    output = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr("m6rec_core.runs.pipeline.round_to_pack", interrupted)
        with pytest.raises(SystemExit) as done:
            main([*films.command(output), "--json"])
    assert done.value.code == 130
    line = capsys.readouterr().err.strip()
    assert line == "interrupted: give the same command with --resume to go on from the last checkpoint"
    with pytest.raises(SystemExit) as done:
        main(["run", "--task", "ctr", "--output", str(output), "--resume", "--json"])
    assert done.value.code == 0
    whole = json.loads((finished_run / "metrics.json").read_text())
    assert json.loads(capsys.readouterr().out)["comparison"] == whole["comparison"]
