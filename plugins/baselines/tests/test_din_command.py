"""`python -m m6rec_plugin_baselines` on a small folder of logs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from m6rec_plugin_baselines.__main__ import run
from m6rec_plugin_baselines.commands import changed, ended
from m6rec_plugin_baselines.din import DinSettings

from m6rec_core.errors import ConfigError, DataError


def test_settings_are_checked() -> None:
    assert changed(DinSettings(), ["lr=0.5", "width=4"]).width == 4
    with pytest.raises(ConfigError, match="no setting 'lrr'"):
        changed(DinSettings(), ["lrr=1"])
    with pytest.raises(ConfigError, match="type int"):
        changed(DinSettings(), ["width=wide"])


def test_a_mistake_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    def mistaken() -> None:
        raise DataError("nothing there")

    assert (ended(mistaken), ended(lambda: None)) == (2, 0)
    assert capsys.readouterr().err == "error: nothing there\n"


def test_a_line_per_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    generator = np.random.default_rng(0)
    pd.DataFrame({"item_id": list("abcdef"), "title": list("abcdef")}).to_csv(tmp_path / "items.csv", index=False)
    pd.DataFrame({"user_id": list("xyz")}).to_csv(tmp_path / "users.csv", index=False)
    pd.DataFrame(
        {
            "user_id": generator.choice(list("xyz"), 300),
            "item_id": generator.choice(list("abcdef"), 300),
            "timestamp": np.arange(300),
            "value": generator.integers(1, 6, 300),
        }
    ).to_csv(tmp_path / "events.csv", index=False)
    run(["--data", str(tmp_path), "--rows", "50", "0", "--set", "max_checks=1"])
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["rows"] for line in lines] == [50, 240]
    assert all(0 <= line["test"]["auc"] <= 1 for line in lines)
