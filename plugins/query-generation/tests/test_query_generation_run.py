"""Runs and the command on a tiny backbone."""

from __future__ import annotations

import json

import pandas as pd
import pytest

from m6rec_core.metrics.text.novelty import normalised
from m6rec_core.testing import call, tiny_trial


def run(place, output, *more):
    return place.run("query-generation", output, "settings.decoding.max_new_tokens=4", *more)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("queries")
    with tiny_trial(folder) as here:
        assert run(here, folder / "run", "shots=10", "training.epochs=1") == 0
        yield here


def test_the_default_run_reports_everything(place):
    metrics = json.loads((place.folder / "run" / "metrics.json").read_text())
    report = metrics["report"]
    systems = ["m6rec", "untuned backbone", "nearest need", "first words", "last words", "whole need"]
    assert list(report["systems"]) == systems
    assert set(report["systems"]["m6rec"]) == {
        "bleu_2_kobe", "bleu_3_kobe", "ppl_token", "ppl_word", "ppl_byte", "dist_2", "dist_3", "dist_4",
    }  # fmt: skip
    assert "KOBE" in report["systems"]["m6rec"]["bleu_2_kobe"]["signature"]
    assert set(report["systems"]["nearest need"]) == {"bleu_2_kobe", "bleu_3_kobe", "dist_2", "dist_3", "dist_4"}
    tuned, bare = (report["systems"][name]["ppl_token"]["value"] for name in systems[:2])
    assert tuned < bare  # training lowers the perplexity of held-out rows
    assert report["difference"]["untuned backbone"]["ppl_token"]["value"] == pytest.approx(tuned - bare)
    rows = pd.read_parquet(place.folder / "run" / "predictions.parquet")
    assert len(rows) == report["rows"] == 6
    assert {"id", "question", "reference", "texts", *systems} <= set(rows.columns)


def test_untuned_start_leaves_learning_baselines_out(place, capsys):
    assert run(place, place.folder / "zero", "shots=0") == 0
    told = capsys.readouterr().out
    assert "nearest need, first words, last words: there are no training rows" in told
    report = json.loads((place.folder / "zero" / "metrics.json").read_text())["report"]
    start, bare = (report["systems"][name]["ppl_token"]["value"] for name in ("m6rec", "untuned backbone"))
    assert start == pytest.approx(bare, rel=1e-5)  # adapters start at nothing


def ask(place, *more):
    return call("queries", "--pack", place.pack, "--backbone", place.backbone, "--precision", "fp32", *more)


def test_n_best_without_doubles(place, capsys):
    assert ask(place, "--need", "warm shoes", "--n", "3", "--json") == 0
    [row] = json.loads(capsys.readouterr().out)
    found = [one["query"] for one in row["queries"]]
    assert 1 <= len(found) <= 3
    assert len({normalised(query) for query in found}) == len(found)
    assert all(one["log_likelihood"] <= 0 for one in row["queries"])


def test_only_known_queries_and_a_blocklist(place, tmp_path, capsys):
    known, blocked = tmp_path / "known.txt", tmp_path / "blocked.txt"
    known.write_text("red boots\nred boots for men\nblue socks\ntoy gun\n")
    blocked.write_text("Gun\n")
    asked = ["--need", "warm shoes", "--n", "4", "--queries", known]
    assert ask(place, *asked) == 0
    assert sorted(capsys.readouterr().out.splitlines()) == sorted(known.read_text().splitlines())
    assert ask(place, *asked, "--blocklist", blocked) == 0
    assert sorted(capsys.readouterr().out.splitlines()) == ["blue socks", "red boots", "red boots for men"]
    known.write_text("toy gun\n")
    assert ask(place, *asked, "--blocklist", blocked) == 2
    assert "every allowed query is blank or blocked" in capsys.readouterr().err


def test_a_file_of_samples(place, tmp_path, capsys):
    source = tmp_path / "in.jsonl"
    source.write_text('{"id": "a", "need": "boots"}\n{"id": "b", "need": "a lamp 💡"}\n')
    assert ask(place, "--input", source, "--n", "2") == 0
    told = capsys.readouterr().out.splitlines()
    assert told[0] == "a"
    assert "b" in told
    source.write_text('{"id": "a", "need": " "}\n')
    assert ask(place, "--input", source) == 2
    assert "in.jsonl, line 1" in capsys.readouterr().err


def test_wrong_calls(place, capsys):
    assert ask(place) == 2
    assert "--need TEXT or --input FILE" in capsys.readouterr().err
    assert ask(place, "--need", " ") == 2
    assert "--need: it is blank" in capsys.readouterr().err
    assert ask(place, "--need", "long " * 2000) == 2
    assert "shorten it or raise settings.max_tokens" in capsys.readouterr().err
