"""Runs and the commands on a tiny backbone."""

from __future__ import annotations

import json

import pandas as pd
import pytest

from m6rec_core.metrics.text.novelty import normalised
from m6rec_core.testing import call, tiny_trial


def run(place, output, *more):
    return place.run("explanation", output, "settings.decoding.max_new_tokens=4", *more, data=place.folder / "guitars")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("explanations")
    rows = [
        {"user_id": f"u{n % 9}", "item_id": f"i{n % 4}", "rating": 5, "timestamp": n * 86_400,
         "text": f"The {'neck' if n % 3 else 'case'} of number{n} is great. Bought in May."}
        for n in range(90)
    ]  # fmt: skip
    (folder / "reviews.jsonl").write_text("\n".join(map(json.dumps, rows)))
    items = [
        {"item_id": f"i{n}", "title": f"guitar {n}", "description": "word " * 300 if n else "six"} for n in range(4)
    ]
    (folder / "items.jsonl").write_text("\n".join(map(json.dumps, items)))
    with tiny_trial(folder) as here:
        made = (
            "reviews",
            "--input",
            folder / "reviews.jsonl",
            "--items",
            folder / "items.jsonl",
            "--output",
            folder / "guitars",
        )
        assert call(*made) == 0
        assert run(here, folder / "run", "shots=10", "training.epochs=1", "evaluation.valid_rows=4") == 0
        yield here


def test_the_run_reports_everything(place):
    metrics = json.loads((place.folder / "run" / "metrics.json").read_text())
    report = metrics["report"]
    systems = ["m6rec", "untuned backbone", "frequent sentence", "nearest review"]
    assert list(report["systems"]) == systems
    rouge = {f"rouge_{n}_{part}_peter" for n in (1, 2) for part in "prf"}
    texts = {"bleu_1_peter", "bleu_4_peter", "fmr", "fcr", "div", "usr", *rouge}
    assert set(report["systems"]["m6rec"]) == {*texts, "ppl_token", "ppl_word", "ppl_byte"}
    assert set(report["systems"]["nearest review"]) == texts
    for line in report["systems"].values():
        assert all(score["signature"] and "low" in score for score in line.values())
    assert "PETER" in report["systems"]["m6rec"]["fmr"]["signature"]
    assert report["features"] == 2
    assert report["details_cut"] > 0
    assert report["systems"]["frequent sentence"]["fmr"]["value"] == 1.0
    rows = pd.read_parquet(place.folder / "run" / "predictions.parquet")
    assert len(rows) == report["rows"] == 6
    assert {"id", "question", "reference", "texts", *systems} <= set(rows.columns)


def test_untuned_start_leaves_learning_baselines_out(place, capsys):
    assert run(place, place.folder / "zero", "shots=0") == 0
    told = capsys.readouterr().out
    assert "frequent sentence, nearest review: there are no training rows" in told
    assert "settings.details_bytes=300" in told


def ask(place, *more):
    return call("explain", "--pack", place.pack, "--backbone", place.backbone, "--precision", "fp32", *more)


def test_explain_for_a_user_and_an_item(place, capsys):
    asked = ["--data", place.folder / "guitars", "--user", "u3", "--item", "i2"]
    assert ask(place, *asked, "--feature", "neck", "--n", "3", "--json") == 0
    [row] = json.loads(capsys.readouterr().out)
    assert (row["user"], row["item"], row["feature"]) == ("u3", "i2", "neck")
    found = [one["text"] for one in row["explanations"]]
    assert 1 <= len(found) <= 3
    assert len({normalised(text) for text in found}) == len(found)
    assert ask(place, *asked) == 0
    assert capsys.readouterr().out.strip()


def test_unknown_user_or_item(place, capsys):
    assert ask(place, "--data", place.folder / "guitars", "--user", "u99", "--item", "i2") == 2
    assert "--user u99" in capsys.readouterr().err
    assert ask(place, "--data", place.folder / "guitars", "--user", "u3", "--item", "I2") == 2
    assert "--item I2" in capsys.readouterr().err
    assert ask(place, "--data", place.folder / "nowhere", "--user", "u3", "--item", "i2") == 2
    assert "neither a folder nor a known data set" in capsys.readouterr().err


def test_explain_from_logs(place, tmp_path, capsys):
    (tmp_path / "items.csv").write_text("item_id,title,description\ni,bass,four strings\nj,amp,\n")
    (tmp_path / "users.csv").write_text("user_id,age\nu,24\n")
    (tmp_path / "events.csv").write_text("user_id,item_id,timestamp,kind\nu,j,1,click\nw,j,2,click\n")
    for user in ("u", "w"):
        assert ask(place, "--data", tmp_path, "--user", user, "--item", "i") == 0
        assert capsys.readouterr().out.strip()
    assert ask(place, "--data", tmp_path, "--user", "x", "--item", "i") == 2
    assert "no such user" in capsys.readouterr().err
    assert ask(place, "--data", tmp_path, "--user", "u", "--item", "x") == 2
    assert "no such item" in capsys.readouterr().err


def test_a_file_of_samples(place, tmp_path, capsys):
    source = tmp_path / "in.jsonl"
    samples = [
        {"id": "a", "item": {"item_id": "1", "fields": {"title": "🎸", "details": "🔥" * 5_000}}, "feature": "neck"},
        {"id": "b", "item": {"item_id": "2"}, "explanation": "known already"},
    ]
    source.write_text("\n".join(map(json.dumps, samples)))
    assert ask(place, "--input", source) == 0
    told = capsys.readouterr().out.splitlines()
    assert told[0] == "a"
    assert "b" in told
    source.write_text('{"id": "a"}\n')
    assert ask(place, "--input", source) == 2
    assert "in.jsonl, line 1, field 'item'" in capsys.readouterr().err


def test_wrong_calls(place, capsys):
    for wrong in ([], ["--user", "u3"], ["--input", "x.jsonl", "--user", "u3"]):
        assert ask(place, *wrong) == 2
        assert "--user ID and --item ID" in capsys.readouterr().err
    assert ask(place, "--data", place.folder / "guitars", "--user", "u3", "--item", "i2", "--feature", " ") == 2
    assert "--feature: it is blank" in capsys.readouterr().err


def test_reviews_command(place, tmp_path, capsys):
    assert {path.name for path in (place.folder / "guitars").iterdir()} == {
        "train.jsonl", "valid.jsonl", "test.jsonl", "features.json", "dataset.json",
    }  # fmt: skip
    source = place.folder / "reviews.jsonl"
    assert call("reviews", "--input", source, "--output", place.folder / "guitars") == 2
    assert "it is not empty" in capsys.readouterr().err
    (tmp_path / "few.jsonl").write_text("\n".join(source.read_text().splitlines()[:4]))
    assert call("reviews", "--input", tmp_path / "few.jsonl", "--output", tmp_path / "out") == 2
    assert "give more" in capsys.readouterr().err
    assert not (tmp_path / "out").exists(), "nothing half-written"


def test_features_command(place, tmp_path, capsys):
    assert call("features", "--input", place.folder / "reviews.jsonl") == 0
    assert "neck" in capsys.readouterr().out
    assert call("features", "--input", place.folder / "reviews.jsonl", "--json") == 0
    assert json.loads(capsys.readouterr().out)["neck"] == 60
    rows = [{"product": "p", "sentence": "the neck is great", "features": [{"feature": "neck"}]}] * 9
    (tmp_path / "annotated.jsonl").write_text("\n".join(map(json.dumps, rows)))
    assert call("features", "--annotated", tmp_path / "annotated.jsonl") == 0
    assert "mean  1.000  1.000" in capsys.readouterr().out
    assert call("features", "--annotated", tmp_path / "annotated.jsonl", "--json") == 0
    assert json.loads(capsys.readouterr().out)["mean"]["recall"] == 1
    assert call("features") == 2
    assert "--input FILE or --annotated FILE" in capsys.readouterr().err
