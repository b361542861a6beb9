"""`m6rec predict` and `m6rec evaluate` over the pack of a small run."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from m6rec_plugin_ctr.sample import CtrSample
from m6rec_plugin_ctr.settings import CtrConfig

import m6rec_core.runs.predict as stage
from m6rec_core.cli import main
from m6rec_core.logs import build_samples, read_logs, write_samples
from m6rec_core.tuning.pack import read_manifest


@pytest.fixture
def m6rec(capsys):
    def call(*arguments):
        with pytest.raises(SystemExit) as done:
            main([str(one) for one in arguments])
        shown = capsys.readouterr()
        return done.value.code, shown.out, shown.err

    return call


@pytest.fixture
def samples(films, finished_run):
    settings = CtrConfig.model_validate(read_manifest(finished_run / "pack").settings)
    table = build_samples(read_logs(films.logs), settings.sampling, CtrSample)
    return [table.sample(int(row)) for row in table.splits["test"]]


@pytest.fixture
def scored(films, finished_run, m6rec):
    """Call predict with the pack and the backbone given."""

    def call(*more):
        return m6rec("predict", "--pack", finished_run / "pack", "--backbone", films.backbone, *more)

    return call


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_own_logs_give_the_predictions_of_the_run(scored, films, finished_run, tmp_path):
    code, out, _ = scored("--data", films.logs, "--output", tmp_path / "out.jsonl", "--json")
    assert code == 0
    assert json.loads(out)["predictions"] == 70
    expected = pd.read_parquet(finished_run / "predictions.parquet")
    found = lines(tmp_path / "out.jsonl")
    assert [one["id"] for one in found] == expected["id"].tolist()
    assert np.allclose([one["score"] for one in found], expected["m6rec"], atol=1e-6)
    assert np.allclose([one["text_score"] for one in found], expected["m6rec, text alone"], atol=1e-6)


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_files_in_any_order_and_format_give_the_same(scored, samples, tmp_path, suffix, monkeypatch):
    monkeypatch.setattr(stage, "CHUNK", 16)
    shuffled = [samples[i] for i in np.random.default_rng(0).permutation(len(samples))]
    source, output = tmp_path / f"in{suffix}", tmp_path / f"out{suffix}"
    if suffix == ".jsonl":
        write_samples(source, shuffled)
    else:
        pd.DataFrame([one.model_dump(mode="json") for one in shuffled]).to_parquet(source)
    code, out, err = scored("--input", source, "--output", output)
    assert (code, out) == (0, f"{output}: 70 predictions\n")
    assert "scoring samples: 70 of 70" in err
    found = pd.DataFrame(lines(output)) if suffix == ".jsonl" else pd.read_parquet(output)
    assert found["id"].tolist() == [one.id for one in shuffled]
    assert scored("--input", source, "--output", tmp_path / "again.jsonl")[0] == 0
    assert np.allclose(found["score"], [one["score"] for one in lines(tmp_path / "again.jsonl")], atol=1e-6)


def test_an_output_is_replaced_only_when_asked(scored, films, tmp_path):
    output = tmp_path / "out.jsonl"
    output.write_text("mine")
    code, _, err = scored("--data", films.logs, "--output", output)
    assert code == 2
    assert "exists already" in err
    assert output.read_text() == "mine"
    assert scored("--data", films.logs, "--output", output, "--force", "--split", "valid")[0] == 0
    assert len(lines(output)) == 70


def test_rows_without_history_or_label_are_scored(scored, samples, tmp_path):
    bare = [one.model_copy(update={"history": (), "user": {}, "label": None}) for one in samples[:3]]
    write_samples(tmp_path / "in.jsonl", bare)
    assert scored("--input", tmp_path / "in.jsonl", "--output", tmp_path / "out.jsonl")[0] == 0
    assert [one["id"] for one in lines(tmp_path / "out.jsonl")] == [one.id for one in bare]


def test_a_cut_history_is_counted(scored, samples, tmp_path):
    long = samples[0].model_copy(update={"history": samples[0].history * 40, "id": "long"})
    write_samples(tmp_path / "in.jsonl", [long, samples[1]])
    code, out, _ = scored("--input", tmp_path / "in.jsonl", "--output", tmp_path / "out.jsonl", "--json")
    assert code == 0
    assert json.loads(out)["truncated_rows"] >= 1
    assert json.loads(out)["dropped_segments"] > 30


@pytest.fixture
def spoilt(samples, tmp_path):
    """Ten good samples and five that are wrong in different stages."""
    good = [one.model_dump_json() for one in samples[:10]]
    long = samples[11].model_copy(deep=True)
    long.candidate.fields["title"] = "x" * 100_000
    bare = samples[12].model_copy(update={"statistics": {}})
    bad = ["{", '{"id": "x"}', good[0], long.model_dump_json(), bare.model_dump_json()]
    path = tmp_path / "spoilt.jsonl"
    path.write_text("\n".join([*good[:5], *bad, *good[5:]]) + "\n")
    return path


def test_bad_rows_are_skipped_counted_and_told_when_asked(scored, spoilt, samples, tmp_path):
    code, out, err = scored("--input", spoilt, "--output", tmp_path / "out.jsonl", "--skip-bad")
    assert code == 0
    assert out.endswith("10 predictions\n")
    assert [one["id"] for one in lines(tmp_path / "out.jsonl")] == [one.id for one in samples[:10]]
    for number, reason in enumerate(
        ["is not JSON", "field 'user_id'", "was already given in line 1", "tokens remain", "item_rate, user_rate"], 6
    ):
        assert f"line {number}" in err
        assert reason in err
    assert "skipped 5 bad rows" in err


@pytest.mark.parametrize("kept", [6, 7, 8, 9, 10])
def test_a_bad_row_stops_with_its_line_and_leaves_nothing(scored, spoilt, tmp_path, kept):
    rows = spoilt.read_text().splitlines()
    spoilt.write_text("\n".join([*rows[:5], rows[kept - 1]]) + "\n")
    code, out, err = scored("--input", spoilt, "--output", tmp_path / "out.jsonl", "--json")
    assert (code, out) == (2, "")
    assert err.startswith(f"error: {spoilt}, line 6")
    assert err.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["spoilt.jsonl"]


def test_evaluate_makes_the_table_of_a_run_again(finished_run, films, m6rec):
    run = json.loads((finished_run / "metrics.json").read_text())["comparison"]
    code, out, _ = m6rec("evaluate", "--predictions", finished_run / "predictions.parquet", "--json")
    again = json.loads(out)["comparison"]
    assert code == 0
    assert again["rows"] == run["rows"]
    assert list(again["models"]) == list(run["models"])
    for name, model in run["models"].items():
        for metric, interval in model["all"].items():
            assert again["models"][name]["all"][metric] == pytest.approx(interval, abs=1e-12)
        assert again["models"][name]["lead"] == pytest.approx(model["lead"], abs=1e-12)


def test_evaluate_scores_a_pack_as_its_run_did(finished_run, films, m6rec):
    run = json.loads((finished_run / "metrics.json").read_text())["comparison"]
    arguments = ("evaluate", "--pack", finished_run / "pack", "--data", films.logs, "--backbone", films.backbone)
    code, out, _ = m6rec(*arguments, "--json")
    found = json.loads(out)
    assert code == 0
    assert found["protocol"]["rows"] == 70
    assert list(found["comparison"]["models"])[:2] == ["m6rec", "m6rec, text alone"]
    assert {"random", "item-mean", "user-like-ratio", "logistic-regression"} <= set(found["comparison"]["models"])
    for name in run["models"]:
        for metric, interval in run["models"][name]["all"].items():
            value = found["comparison"]["models"][name]["all"][metric]["value"]
            assert value == pytest.approx(interval["value"], abs=1e-6)
    code, out, err = m6rec(*arguments, "--rows", "20", "--split", "valid")
    assert code == 0
    assert "20 of 70 valid rows" in out
    assert "logistic-regression" in out
    assert "scoring valid rows: 20 of 20" in err
