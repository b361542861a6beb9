"""Figure 7: rows for comparison models, what is read from runs, and the picture."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
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
    model = {"auc": {"value": 0.5 + shots / 800, "low": 0.5, "high": 1.0}}
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
    assert list(figure7.din_points("films", tmp_path, 0, [80], told.append)) == []
    assert "no installed package offers the baseline din" in told[0]


@pytest.fixture
def whole(tmp_path, logs, monkeypatch):
    """A folder with finished runs of 0, 80 and 400 shots, and DIN replaced by something quick that counts its fits."""
    parts = derive(logs, ZeroshotConfig(domain=MOVIES), 0)
    fitted = []

    class Quick(Counting):
        def fit_predict(self, data, train, valid, test, seed):
            fitted.append(len(train))
            return super().fit_predict(data, train, valid, test, seed)

    for shots in (0, 80, 400):
        finished(tmp_path / f"shots-{shots}", "films", shots)
    run = tmp_path / "shots-0"
    (run / "pack").mkdir()
    (run / "pack" / "pack.json").write_text(json.dumps({"settings": {"domain": MOVIES.model_dump(mode="json")}}))
    pd.DataFrame({"id": [sample.id for sample in parts["test"]]}).to_parquet(run / "predictions.parquet")
    monkeypatch.setattr(rows, "baseline_of", lambda name: Quick())
    material = rows.Material(*(tuple(parts[part]) for part in ("train", "valid", "test")))
    monkeypatch.setattr(rows, "material", lambda data, folder: material)
    return tmp_path, fitted, len(material.train)


def draw_figure(folder, *more):
    return CliRunner().invoke(
        figure7.figure7, ["--data", "films", "--output", str(folder), *more], catch_exceptions=False
    )


def test_a_figure_that_was_cut_goes_on_point_by_point(whole, monkeypatch):
    folder, fitted, train = whole
    compare = rows.compare

    def cut(rival, found, size, seed=0):
        if size > 4:
            raise KeyboardInterrupt
        return compare(rival, found, size, seed)

    asked = ("--din-rows", "all,4,8")
    with monkeypatch.context() as patch:
        patch.setattr(rows, "compare", cut)
        assert draw_figure(folder, *asked).exit_code != 0
    known = [(p["model"], p["rows"]) for p in json.loads((folder / "figure7.json").read_text())]
    models = [("m6rec", 0), ("m6rec", 80), ("m6rec", 400), ("random", None)]
    assert known == [*models, ("din", 4)]
    first = len(fitted)
    told = draw_figure(folder, *asked)
    assert told.exit_code == 0
    assert len(fitted) == first + 2, "the point of 4 was kept"
    points = json.loads((folder / "figure7.json").read_text())
    assert [(p["model"], p["rows"]) for p in points] == [*models, ("din", 4), ("din", 8), ("din", train)]
    assert (folder / "figure7.png").read_bytes().startswith(b"\x89PNG")
    assert f"din     {train}" in told.output
    assert json.loads(draw_figure(folder, *asked, "--json").stdout) == points
    assert len(fitted) == first + 2, "everything was kept"


def test_points_of_other_samples_are_learned_again(whole):
    folder, fitted, _ = whole
    draw_figure(folder, "--din-rows", "4")
    run = folder / "shots-0" / "predictions.parquet"
    pd.read_parquet(run).iloc[1:].to_parquet(run)
    (folder / "din-8.json").write_text("{")
    first = len(fitted)
    draw_figure(folder, "--din-rows", "4,8")
    assert len(fitted) == first + 2


def test_numbers_on_the_command_line():
    assert figure7._counts("--shots", "0, 80") == [0, 80]
    assert figure7._counts("--din-rows", "80,all", whole=True) == [80, None]
    with pytest.raises(ConfigError, match="'many' is not a number"):
        figure7._counts("--shots", "0,many")
