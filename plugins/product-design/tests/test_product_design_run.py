"""Runs and the command on a tiny backbone."""

from __future__ import annotations

import json

import pandas as pd
import pytest

from m6rec_core.metrics.text.novelty import normalised
from m6rec_core.testing import call, tiny_trial


def run(place, output, *more):
    return place.run("product-design", output, "settings.decoding.max_new_tokens=6", *more)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("designs")
    with tiny_trial(folder) as here:
        assert run(here, folder / "run", "shots=10", "training.epochs=1") == 0
        yield here


def test_the_default_run_reports_everything(place):
    report = json.loads((place.folder / "run" / "metrics.json").read_text())["report"]
    systems = ["m6rec", "untuned backbone", "last title", "popular in category", "nearest history"]
    assert list(report["systems"]) == systems  # nobody wishes for anything in the examples
    assert set(report["systems"]["m6rec"]) == {
        "bleu_2_kobe", "bleu_3_kobe", "ppl_token", "ppl_word", "ppl_byte", "dist_2", "dist_3", "dist_4", "copies",
        "novelty",
    }  # fmt: skip
    assert report["systems"]["last title"]["copies"]["value"] == 1.0
    assert list(report["category_accuracy"]) == systems
    tuned, bare = (report["systems"][name]["ppl_token"]["value"] for name in systems[:2])
    assert tuned < bare  # training lowers the perplexity of held-out rows
    rows = pd.read_parquet(place.folder / "run" / "predictions.parquet")
    assert len(rows) == report["rows"] == 6
    assert {"id", "question", "reference", "texts", "category", "categories", *systems} <= set(rows.columns)


def test_a_given_category_needs_no_accuracy(place, capsys):
    assert run(place, place.folder / "told", "shots=0", "settings.category_given=true") == 0
    told = capsys.readouterr().out
    assert "popular in category, nearest history, attributes: there are no training rows" in told
    assert "category_accuracy" not in json.loads((place.folder / "told" / "metrics.json").read_text())["report"]


def ask(place, *more):
    return call("design", "--pack", place.pack, "--backbone", place.backbone, "--precision", "fp32", *more)


def designs(place, capsys, *more):
    assert ask(place, *more, "--json") == 0
    [row] = json.loads(capsys.readouterr().out)
    return row["designs"]


def test_n_designs_without_doubles(place, capsys):
    asked = ["--bought", "shoes | boots", "--bought", "wax", "--user", "age=24", "--n", "4"]
    found = designs(place, capsys, *asked)
    assert 1 <= len(found) <= 4
    assert len({normalised(one["title"]) for one in found}) == len(found)
    assert all(one["log_likelihood"] <= 0 for one in found)
    assert designs(place, capsys, *asked) == found
    assert designs(place, capsys, *asked, "--seed", "7") != found


def test_a_given_category_is_kept(place, capsys):
    found = designs(place, capsys, "--wish", "colour=blue", "--category", "hats")
    assert found
    assert {one["category"] for one in found} == {"hats"}


def test_copies_of_a_catalogue_with_doubles(place, tmp_path, capsys):
    asked = ["--category", "hats", "--n", "2"]
    first = designs(place, capsys, *asked)[0]["title"]
    titles = tmp_path / "titles.txt"
    titles.write_text(f"{first}\n{first.upper()}!\n\nother\n", encoding="utf-8")
    assert ask(place, *asked, "--catalogue", titles) == 0
    told = capsys.readouterr()
    assert f"hats | {first}  (exists already)" in told.out
    assert told.err.strip().endswith("designs are titles of the catalogue")
    titles.write_text("\n")
    assert ask(place, *asked, "--catalogue", titles) == 2
    assert "there is no title in it" in capsys.readouterr().err


def test_a_file_of_samples(place, tmp_path, capsys):
    source = tmp_path / "in.jsonl"
    event = {"item": {"item_id": "1", "fields": {"title": "🎩", "category": "hats"}}, "kind": "view", "timestamp": 0}
    long = {"item": {"item_id": "2", "fields": {"title": "word " * 20_000}}, "kind": "view", "timestamp": 1}
    rows = [
        {"id": "emoji", "history": [event]},
        {"id": "long", "history": [event, long]},  # what is too long is left out of the history
        {"id": "markers", "attributes": {"text": "[EOS] <|endoftext|>"}, "category": "shoes", "title": "🎩"},
    ]
    source.write_text("\n".join(map(json.dumps, rows)))
    assert ask(place, "--input", source, "--n", "1", "--json") == 0
    assert [row["id"] for row in json.loads(capsys.readouterr().out)] == ["emoji", "long", "markers"]
    assert ask(place, "--input", source, "--category", "shoes", "--n", "1", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert {one["category"] for row in found for one in row["designs"]} <= {"shoes"}
    source.write_text('{"id": "a", "history": []}\n')
    assert ask(place, "--input", source) == 2
    told = capsys.readouterr().err
    assert "in.jsonl, line 1" in told
    assert "neither a history nor an attribute" in told


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([], "give --input FILE, or some of --bought"),
        (["--category", " "], "--category: it is blank"),
        (["--wish", "blue"], "--wish 'blue': write name=text"),
        (["--bought", "shoes | "], "the title is blank"),
        (["--user", "age=3"], "there is nothing to design from"),
        (["--category", "hats", "--pictures", "out"], "--pictures DIR and --pipeline NAME go together"),
        (["--wish", f"text={'word ' * 20_000}"], "shorten it or raise settings.max_tokens"),
        (["--category", "hats", "--pictures", "new", "--pipeline", "none"], "no image pipeline 'none'"),
    ],
)
def test_wrong_calls_are_one_line(place, given, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert ask(place, *given) == 2
    told = capsys.readouterr().err
    assert message in told
    assert "Traceback" not in told
    assert not list(tmp_path.iterdir())
