"""`m6rec explain-sample`."""

from __future__ import annotations

import json
import sys

import pytest

from m6rec_core.cli import main

PAPER = (
    "--set",
    "settings.form=paper",
    "--set",
    "settings.max_tokens=2000",
    "--set",
    "tuning.budget=0.9",
    "--set",
    "tuning.prompts=6",
)


@pytest.fixture
def explain(films, capsys):
    def call(*more):
        arguments = ["explain-sample", "--task", "ctr", "--data", films.logs, "--backbone", films.backbone, *more]
        with pytest.raises(SystemExit) as done:
            main([str(one) for one in arguments])
        shown = capsys.readouterr()
        return done.value.code, shown.out, shown.err

    return call


def test_the_tokens_are_prompts_markers_and_the_text(explain):
    code, out, _ = explain(*PAPER, "--json")
    found = json.loads(out)
    assert code == 0
    row = found["rows"][0]
    tokens = row["tokens"]
    assert [t["kind"] for t in tokens[:6]] == ["prompt"] * 4 + ["option"] * 2
    assert [t["answer"] for t in tokens[4:6]] == [" No", " Yes"]
    assert [t["piece"] for t in tokens if t["kind"] == "marker"] == ["[BOS']", "[EOS']", "[BOS]", "[EOS]"]
    assert [t["position"] for t in tokens] == list(range(len(tokens)))
    assert [t["role"] for t in tokens] == [""] * (len(tokens) - 1) + ["read out"]
    for segment in row["segments"]:
        own = "".join(t["piece"] for t in tokens if t["segment"] == segment["number"])
        assert own == segment["text"]
    source = [t["region"] for t in tokens].index("autoregressive")
    assert tokens[source]["piece"] == "[BOS]"
    assert found["sizes"]["soft_prompts"] == 6


def test_dropped_segments_are_the_oldest_events(explain):
    more = ("--set", "settings.max_tokens=80", "--set", "settings.sampling.history.stride=1", "--row", "60")
    _, out, _ = explain("--set", "tuning.budget=0.9", "--set", "tuning.prompts=4", *more, "--json")
    found = json.loads(out)
    segments = found["rows"][0]["segments"]
    dropped = [s["number"] for s in segments if s["dropped"]]
    droppable = [s["number"] for s in segments if s["droppable"]]
    assert dropped
    assert dropped == droppable[: len(dropped)]
    assert found["sizes"]["dropped_segments"] == len(dropped)
    assert not any(t["segment"] in dropped for t in found["rows"][0]["tokens"])
    assert sum(s["tokens"] for s in segments if not s["dropped"]) + 4 == len(found["rows"][0]["tokens"]) <= 80


def test_a_pack_brings_its_settings_and_an_id_names_the_sample(explain, finished_run):
    _, first, _ = explain("--pack", finished_run / "pack", "--row", "5", "--json")
    sample = json.loads(first)["sample"]["id"]
    _, again, _ = explain("--pack", finished_run / "pack", "--id", sample, "--json")
    assert again == first
    assert json.loads(first)["sizes"]["soft_prompts"] == 4


def test_piped_and_on_a_terminal(explain, finished_run, monkeypatch):
    code, out, _ = explain("--pack", finished_run / "pack")
    assert code == 0
    assert "the head reads the target" in out
    assert out.isascii()
    assert "read out" in out.splitlines()[-1]
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "200")
    code, rich, _ = explain("--pack", finished_run / "pack")
    assert code == 0
    assert "read out" in rich
    assert "autoregressive" in rich


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--row", "70"), "--row 70: the test part has 70 samples, 0 to 69"),
        (("--id", "u1:i1:99999"), "there is no such sample; an id is USER:ITEM:ROW, such as"),
        (("--id", "x", "--row", "1"), "--id names the sample already"),
        (("--set", "settings.frm=paper"), "unknown setting 'settings.frm'; did you mean 'form'"),
        (("--pack", "nowhere"), "nowhere is not a task pack"),
        (("--pack", "nowhere", "--set", "a=1"), "a pack has its own"),
    ],
)
def test_mistakes(explain, more, message):
    code, out, err = explain("--set", "tuning.budget=0.9", *more) if "--pack" not in more else explain(*more)
    assert (code, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1
