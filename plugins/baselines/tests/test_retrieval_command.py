"""The command prints one JSON line per model and seed, and one clear line for a mistake."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from m6rec_plugin_baselines.retrieval import chosen_model, run
from m6rec_plugin_baselines.retrievers import NextItemRetriever

from m6rec_core.errors import ConfigError


def _folder(path: Path) -> str:
    random = np.random.default_rng(0)
    names = [f"film {code}" for code in range(20)]
    pd.DataFrame({"item_id": [str(code) for code in range(20)], "title": names}).to_csv(path / "items.csv", index=False)
    rows = [
        (f"u{user}", str(item), 60 * step) for user in range(30) for step, item in enumerate(random.permutation(20)[:8])
    ]
    pd.DataFrame(rows, columns=["user_id", "item_id", "timestamp"]).to_csv(path / "events.csv", index=False)
    return str(path)


def test_lines_have_all_measures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    models = ["popularity", "random"]
    run(["--data", _folder(tmp_path), "--model", *models, "--seeds", "0", "1", "--unseen-share", ".3"])
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(line["model"], line["seed"]) for line in lines] == [(name, seed) for name in models for seed in (0, 1)]
    assert all(line["all"]["rows"] == 30 for line in lines)
    assert all(line["seen"]["rows"] + line["unseen"]["rows"] == 30 for line in lines)
    assert lines[0]["unseen"]["hr@10"][0] == 0.0
    assert {"hr@10", "ndcg@10", "hr@100", "mrr", "coverage@10"} <= set(lines[0]["all"])
    run(["--data", str(tmp_path), "--model", "youtube-dnn", "--set", "epochs=1", "--set", "every_window=no"])
    line = json.loads(capsys.readouterr().out)
    assert line["info"]["epochs"] == 1
    assert line["info"]["windows"] == 30


def test_mistakes_are_named() -> None:
    with pytest.raises(ConfigError, match="no such model"):
        chosen_model("sasrecc", [])
    with pytest.raises(ConfigError, match="has no settings"):
        chosen_model("popularity", ["lr=1"])
    with pytest.raises(ConfigError, match="no setting 'lrr'"):
        chosen_model("sasrec-ce", ["lrr=1"])
    with pytest.raises(ConfigError, match="value of type int"):
        chosen_model("sasrec-ce", ["width=wide"])
    with pytest.raises(ConfigError, match="give all-items or one-negative"):
        chosen_model("sasrec-ce", ["loss=bce"])
    with pytest.raises(ConfigError, match="3 heads do not divide"):
        chosen_model("sasrec-ce", ["heads=3"])
    changed = chosen_model("sasrec-ce", ["width=8", "every_window=yes"])
    assert isinstance(changed, NextItemRetriever)
    assert (changed.settings.width, changed.settings.every_window) == (8, True)
