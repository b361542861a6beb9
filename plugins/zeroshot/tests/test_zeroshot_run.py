"""Runs and commands on a tiny backbone: sample files, logs, packs, a movie question, tags."""

from __future__ import annotations

import json

import pandas as pd
import pytest

from m6rec_core.testing import call, tiny_trial

QUESTIONS = [
    {"input": "Find a movie similar to Batman, The Mask:", "target_scores": {"The Front Page": 0, "Speed": 1}},
    {"input": "Find a movie similar to Toy Story, Antz:", "target_scores": {"Shrek": 1, "Alien": 0, "Heat": 0}},
]  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("zeroshot")
    with tiny_trial(folder) as here:
        films = folder / "films"
        films.mkdir()
        (films / "items.csv").write_text("item_id,title\n" + "".join(f"i{n},Film {n}\n" for n in range(30)))
        events = [
            f"u{u},i{(u + 3 * s) % 30},{100 * u + s},{1 if s % 4 == 3 else 5}" for u in range(20) for s in range(10)
        ]
        (films / "events.csv").write_text("user_id,item_id,timestamp,value\n" + "\n".join(events) + "\n")
        (films / "dataset.json").write_text('{"name": "films", "domain": "movies"}')
        samples = folder / "samples"
        samples.mkdir()
        for part, count in {"train": 6, "valid": 3, "test": 5}.items():
            lines = [
                {
                    "id": f"{part}{n}",
                    "context": [f"Film {n}", "Heat"],
                    "choices": ["Alien", f"Film {n + 1}"],
                    "label": n % 2,
                }
                for n in range(count)
            ]
            (samples / f"{part}.jsonl").write_text("\n".join(map(json.dumps, lines)))
        yield here


def run(place, output, data, *more):
    settings = ["training.precision=fp32", "evaluation.bootstrap=30", "tuning.budget=0.9", *more]
    given = [part for setting in settings for part in ("--set", setting)]
    return call(
        "run", "--task", "zeroshot", "--data", place.folder / data, "--backbone", place.backbone, "--output", output,
        *given,
    )  # fmt: skip


def test_logs_without_training(place, capsys):
    output = place.folder / "run-logs"
    assert run(place, output, "films", "settings.history=3", "settings.prompts=[list,like]", "settings.normalise=prior",
               "settings.compare_on_valid=true") == 0  # fmt: skip
    told = capsys.readouterr().out
    for word in ("m6rec", "random", "popularity", "title-overlap", "title-similarity", "all, averaged", "valid auc"):
        assert word in told
    report = json.loads((output / "metrics.json").read_text())["report"]
    assert report["models"]["random"]["auc"] == {"value": 0.5, "low": 0.5, "high": 0.5}
    assert {line["normalisation"] for line in report["forms"]} == {"sum", "token", "byte", "prior"}
    rows = pd.read_parquet(output / "predictions.parquet")
    assert len(rows) == 5 * report["samples"]
    assert rows.groupby("id")["label"].sum().eq(1).all()


def test_sample_files_unchanged_and_a_few_shots(place, capsys):
    output = place.folder / "run-samples"
    assert run(place, output, "samples", "shots=4", "training.epochs=1", "settings.protocol=sileo") == 0
    told = capsys.readouterr().out
    assert "popularity: the samples do not say" in told
    metrics = json.loads((output / "metrics.json").read_text())
    assert metrics["protocol"]["rows"]["train"]["used"] == 4
    assert metrics["training"]["of"] > 0
    questions = place.folder / "ask.jsonl"
    questions.write_text("\n".join(map(json.dumps, QUESTIONS)))
    assert call("choose", "--input", questions, "--pack", output / "pack", "--backbone", place.backbone, "--json") == 0
    assert json.loads(capsys.readouterr().out)["samples"] == 2


def test_movie_questions_on_the_bare_backbone(place, capsys):
    questions, answers = place.folder / "q.jsonl", place.folder / "a.jsonl"
    questions.write_text("\n".join(map(json.dumps, QUESTIONS)))
    asked = ["choose", "--input", questions, "--backbone", place.backbone, "--precision", "fp32"]
    assert call(*asked) == 0
    told = capsys.readouterr().out
    assert "Find a movie similar to Batman" in told
    assert "precision@1" in told
    assert call(*asked, "--output", answers) == 0
    lines = [json.loads(line) for line in answers.read_text().splitlines()]
    assert [len(line["scores"]) for line in lines] == [2, 3]
    assert call(*asked, "--output", answers) == 2
    assert "use --force" in capsys.readouterr().err


def test_tags(place, capsys):
    tags = place.folder / "tags.txt"
    tags.write_text("comedy\n\ndark thriller\nwestern\n")
    asked = [
        "tags",
        "--data",
        place.folder / "films",
        "--tags",
        tags,
        "--backbone",
        place.backbone,
        "--precision",
        "fp32",
    ]
    assert call(*asked, "--user", "u3", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert {line["tag"] for line in found["tags"]} == {"comedy", "dark thriller", "western"}
    scores = [line["score"] for line in found["tags"]]
    assert scores == sorted(scores, reverse=True)
    assert len(found["liked"]) == 8
    assert call(*asked, "--user", "nobody") == 2
    assert "--user 'nobody': no event" in capsys.readouterr().err
    tags.write_text("comedy\nwestern\ncomedy\n")
    assert call(*asked, "--user", "u3") == 2
    assert "tags.txt, line 3: tag 'comedy' was already given in line 1" in capsys.readouterr().err


def test_a_wrong_sample_is_one_line(place, tmp_path, capsys):
    (tmp_path / "test.jsonl").write_text('{"id": "a", "context": "x", "choices": ["y"]}\n')
    assert call("run", "--task", "zeroshot", "--data", tmp_path, "--backbone", place.backbone) == 2
    told = capsys.readouterr().err.strip().splitlines()[-1]
    assert "test.jsonl, line 1, field 'choices'" in told
