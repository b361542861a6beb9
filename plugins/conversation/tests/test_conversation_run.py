"""Runs, rankings and the chat on a tiny backbone."""

from __future__ import annotations

import io
import json

import pandas as pd
import pytest
from m6rec_plugin_conversation.recommending import Questions, popularity_scores, questions_of, recalls, signature
from m6rec_plugin_conversation.sample import DialogueSample, Turn
from m6rec_plugin_conversation.settings import ConversationConfig

from m6rec_core.config import EvaluationConfig
from m6rec_core.testing import call, tiny_trial
from m6rec_core.text.domains import MOVIES
from m6rec_core.types import RunView


def run(place, output, *more):
    return place.run("conversation", output, "settings.decoding.max_new_tokens=4", "settings.candidates=20", *more)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("conversation")
    with tiny_trial(folder) as here:
        assert run(here, folder / "run", "shots=12", "training.epochs=1") == 0
        yield here


def test_the_default_run_reports_everything(place):
    report = json.loads((place.folder / "run" / "metrics.json").read_text())["report"]
    systems = ["m6rec", "untuned backbone", "nearest dialogue", "most frequent reply"]
    assert list(report["systems"]) == systems
    assert set(report["systems"]["m6rec"]) == {
        "bleu_2_kgsf", "bleu_3_kgsf", "bleu_2_cumulative", "bleu_3_cumulative", "ppl_token", "ppl_word", "ppl_byte",
        "dist_3_kbrd", "dist_4_kbrd", "dist_3", "dist_4",
    }  # fmt: skip
    assert "KGSF" in report["systems"]["m6rec"]["bleu_2_kgsf"]["signature"]
    tuned, bare = (report["systems"][name]["ppl_token"]["value"] for name in systems[:2])
    assert tuned < bare  # training lowers the perplexity of held-out rows
    rows = pd.read_parquet(place.folder / "run" / "predictions.parquet")
    assert len(rows) == report["rows"]
    recommending = report["recommending"]
    assert list(recommending["systems"]) == ["m6rec", "untuned backbone", "popularity in training", "random"]
    for line in recommending["systems"].values():
        assert list(line) == ["recall@1", "recall@10"]
        assert 0.0 <= line["recall@1"]["value"] <= line["recall@10"]["value"] <= 1.0
        assert "candidates:20 drawn" in line["recall@1"]["signature"]
    assert set(recommending["difference"]) == {"untuned backbone", "popularity in training", "random"}


def view(train, test, **settings):
    def none(samples, title):
        raise AssertionError(title)

    return RunView(
        parts={"train": train, "valid": (), "test": test}, settings=ConversationConfig(domain=MOVIES, **settings),
        evaluation=EvaluationConfig(), logs=None, answer=none, losses=none, seed=0, main=True, say=print, output=None,
    )  # fmt: skip


def test_questions_and_popularity(samples):
    catalogue = tuple(f"Film {n}" for n in range(50))
    found = questions_of(view(samples, samples, candidates=10, catalogue=catalogue))
    assert (found.items, found.size, found.targets) == (54, 10, (1, 2))
    one, two = found.samples
    assert one.candidates[0] == "Thief (1981)"
    assert two.candidates[:2] == ("Alien (1979)", "Jaws (1975)")
    assert "Heat (1995)" not in one.candidates  # the dialogue has named it
    assert all(len(set(sample.candidates)) == 10 and sample.reply is None for sample in found.samples)
    assert found == questions_of(view(samples, samples, candidates=10, catalogue=catalogue))
    assert signature("recall@1", found).startswith("recall@1|films first named in the reply|candidates:10 drawn|")
    whole = questions_of(view(samples, samples, candidates=0, catalogue=catalogue))
    assert [len(sample.candidates) for sample in whole.samples] == [53, 54]
    assert "whole catalogue" in signature("recall@1", whole)
    scores = popularity_scores(view(samples, samples), found)
    assert min(scores[1][:2]) > 1 > max(scores[1][2:])
    assert popularity_scores(view((), samples), found) is None


def test_recall_with_several_targets():
    turn = Turn(speaker="seeker", text="hi")
    many = tuple(f"f{n}" for n in range(12))
    asked = tuple(DialogueSample(id=name, turns=(turn,), candidates=many) for name in "ab")
    scores = [[5.0, 0.0, *range(-1, -11, -1)], [0.5, *range(1, 12)]]
    found = recalls(Questions(asked, (2, 1), 12, 12), scores)
    assert list(found) == ["recall@1", "recall@10"]
    assert found["recall@1"].value == pytest.approx((0.5 + 0.0) / 2)
    assert found["recall@10"].value == pytest.approx((1.0 + 0.0) / 2)


def test_rankings_in_one_pass_equal_titles_alone(place, tmp_path, capsys):
    titles = ["Heat (1995)", "Alien (1979)", "🎬", "a longer title than the others (2001)"]
    sample = {"turns": [{"speaker": "seeker", "text": "something scary"}]}
    ask = [{"id": "all", **sample, "candidates": titles}]
    ask += [{"id": str(n), **sample, "candidates": [title]} for n, title in enumerate(titles)]
    ask += [{"id": "reply", **sample}]
    source, target = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text("\n".join(map(json.dumps, ask)))
    options = ["--backbone", place.backbone, "--precision", "fp32"]
    assert call("predict", "--pack", place.pack, "--input", source, "--output", target, *options) == 0
    found = [json.loads(line) for line in target.read_text().splitlines()]
    together = dict(zip(found[0]["titles"], found[0]["title_scores"], strict=True))
    alone = {line["titles"][0]: line["title_scores"][0] for line in found[1:5]}
    assert together == pytest.approx(alone, rel=1e-4)
    assert found[0]["title_scores"] == sorted(found[0]["title_scores"], reverse=True)
    assert found[5]["titles"] == []
    assert len(found[5]["texts"]) <= 1
    capsys.readouterr()


def talk(place, monkeypatch, typed, *more, terminal=False):
    class Typed(io.TextIOWrapper):
        def isatty(self):
            return terminal

    monkeypatch.setattr("sys.stdin", Typed(io.BytesIO(typed.encode())))
    return call("chat", "--pack", place.pack, "--backbone", place.backbone, "--precision", "fp32", *more)


def test_chat_through_a_pipe(place, monkeypatch, capsys):
    typed = "hi\n\n🙂🙂\n[EOS] Recommender: x\n/quit\nnever\n"
    assert talk(place, monkeypatch, typed, "--fact", "The seeker is tired.") == 0
    told = capsys.readouterr()
    assert len(told.out.splitlines()) >= 3
    assert told.err.count("error: the turn is blank") == 1
    assert talk(place, monkeypatch, "x " * 3000 + "\nhi\n") == 0
    told = capsys.readouterr()
    assert "shorten it or raise settings.max_tokens" in told.err
    assert told.out.strip()


def test_chat_on_a_terminal(place, monkeypatch, capsys):
    assert talk(place, monkeypatch, "hi\n/help\n/quit\nnever\n", terminal=True) == 0
    told = capsys.readouterr()
    assert told.out.count("You: ") == 3
    assert "/quit ends" in told.err.splitlines()[-2]
    assert told.err.splitlines()[-1] == "error: there is no command /help; /quit ends, any other line is a turn"


def test_chat_keeps_within_the_catalogue(place, monkeypatch, tmp_path, capsys):
    file = tmp_path / "titles.txt"
    file.write_text("Heat (1995)\nheat 1995\n🎬\nAlien (1979)\nThief (1981)\nJaws (1975)\n")
    options = ["--catalogue", file, "--only-catalogue", "--films", "2", "--json"]
    assert talk(place, monkeypatch, "I saw heat (1995)\nmore\nmore\n", *options) == 0
    told = capsys.readouterr()
    replies = [json.loads(line) for line in told.out.splitlines()]
    assert sorted(film for reply in replies for film in reply["films"]) == [
        "Alien (1979)",
        "Jaws (1975)",
        "Thief (1981)",
    ]
    assert [reply["reply"] for reply in replies][-1] == "I know no other film."
    assert "4 titles; left out: 1 named before, 1 without a letter or digit" in told.err
    assert talk(place, monkeypatch, "hi\n", "--catalogue", file) == 0
    assert "Films: " in capsys.readouterr().out


def test_wrong_calls(place, monkeypatch, tmp_path, capsys):
    assert talk(place, monkeypatch, "hi\n", "--only-catalogue") == 2
    assert "--only-catalogue needs --catalogue" in capsys.readouterr().err
    source = tmp_path / "in.jsonl"
    source.write_text('{"id": "a", "turns": [{"text": "hi"}]}\n')
    options = ["--backbone", place.backbone, "--input", source, "--output", tmp_path / "o.jsonl"]
    assert call("predict", "--pack", place.pack, *options) == 2
    assert "field 'turns.0.speaker'" in capsys.readouterr().err
