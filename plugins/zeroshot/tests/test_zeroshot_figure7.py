"""Figure 7: rows for comparison models, what is read from runs, and the picture."""

from __future__ import annotations

import json

import numpy as np
import pytest
from m6rec_plugin_zeroshot import figure7, rows
from m6rec_plugin_zeroshot.derive import derive
from m6rec_plugin_zeroshot.settings import ZeroshotConfig

from m6rec_core.baselines import NO_EVENT, TRIVIAL, BaselineResult
from m6rec_core.errors import ConfigError, RunError
from m6rec_core.text.domains import MOVIES


class Counting:
    """A baseline that scores an item by how often it was the right one in training."""

    name = "counting"

    def fit_predict(self, data, train, valid, test, seed):
        right = np.bincount(data.item[train], weights=data.label[train], minlength=data.item.max() + 1)
        return BaselineResult(right[data.item[test]], np.full(test.size, 0.5), {})


def test_samples_as_rows(samples):
    data, sample = rows.baseline_rows(samples)
    assert sample.tolist() == [0, 0, 0, 1, 1, 1, 1, 2, 2, 3, 3]
    assert data.label.tolist() == [1, 0, 0, 0, 1, 0, 1, 0, 1, 1, 0]
    titles = data.item_fields["title"]
    assert [titles[i] for i in data.item[:3]] == ["Antz", "Shrek", "The Rock"]
    assert (data.history_item == NO_EVENT).all()  # these samples have no ids of their titles


def test_a_baseline_learns_from_as_many_samples_as_asked(logs):
    parts = derive(logs, ZeroshotConfig(domain=MOVIES), 0)
    found = rows.Material(*(tuple(parts[part]) for part in ("train", "valid", "test")))
    data, _ = rows.baseline_rows(found.test)
    assert data.history_item.shape[1] == 5
    few, many = (rows.compare(Counting(), found, size) for size in (1, 32))
    assert 0 <= few.low <= few.value <= few.high <= 1
    assert many.resamples > 0
    assert rows.compare(TRIVIAL["random"], found, 8).value == rows.compare(TRIVIAL["random"], found, 8).value


def metrics(data, shots, of=500):
    model = {"auc": {"value": 0.5 + shots / 800, "low": 0.5, "high": 0.9}}
    chance = {"auc": {"value": 0.5, "low": 0.5, "high": 0.5}}
    return {"protocol": {"data": data, "rows": {"train": {"used": shots, "of": of}}},
            "report": {"models": {"m6rec": model, "random": chance}}}  # fmt: skip


def finished(folder, data, shots):
    folder.mkdir(parents=True)
    (folder / "metrics.json").write_text(json.dumps(metrics(data, shots)))


def test_finished_runs_are_read_and_not_repeated(tmp_path):
    finished(tmp_path / "shots-0", "films", 0)
    finished(tmp_path / "shots-80", "films", 80)
    found = {n: figure7.run_of(tmp_path / f"shots-{n}", "films", None, n, ()) for n in (0, 80)}
    points = figure7.points_of(found)
    assert [(p.model, p.rows, p.auc) for p in points] == [("m6rec", 0, 0.5), ("m6rec", 80, 0.6), ("random", None, 0.5)]
    figure7.draw([*points, figure7.Point("din", 400, 0.7, 0.6, 0.8)], tmp_path / "f.png", "films")
    assert (tmp_path / "f.png").read_bytes().startswith(b"\x89PNG")
    assert [p.name for p in tmp_path.glob(".*")] == []
    with pytest.raises(RunError, match="other data or shots"):
        figure7.run_of(tmp_path / "shots-0", "games", None, 0, ())


def test_without_the_package_of_din_the_figure_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(rows, "entry_points", lambda group: ())
    told = []
    assert figure7.din_points("films", tmp_path, [80], told.append) == []
    assert "no installed package offers the baseline din" in told[0]


def test_numbers_on_the_command_line():
    assert figure7._counts("--shots", "0, 80") == [0, 80]
    assert figure7._counts("--din-rows", "80,all", whole=True) == [80, None]
    with pytest.raises(ConfigError, match="'many' is not a number"):
        figure7._counts("--shots", "0,many")
