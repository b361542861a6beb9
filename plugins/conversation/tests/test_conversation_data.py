"""The recipes, what they leave out, and the baselines."""

from __future__ import annotations

import gzip
import json

import pytest
from m6rec_plugin_conversation.dialogues import Dialogue, Message, Skipped, samples_of
from m6rec_plugin_conversation.recipes import BOOKS, EXAMPLES, IARD, REDIAL, write_books, write_examples
from m6rec_plugin_conversation.redial import write_iard, write_redial
from m6rec_plugin_conversation.rivals import dialogue_text, last_turns, most_frequent, nearest_dialogue
from m6rec_plugin_conversation.sample import DialogueSample
from m6rec_plugin_conversation.settings import ConversationConfig

from m6rec_core.config import EvaluationConfig
from m6rec_core.errors import DataError
from m6rec_core.logs import read_samples
from m6rec_core.text.domains import MOVIES
from m6rec_core.types import Item, RunView

PARTS = ("train", "valid", "test")


def read(folder):
    return {part: list(read_samples(folder / f"{part}.jsonl", DialogueSample)) for part in PARTS}


def test_examples(tmp_path):
    write_examples(None, tmp_path)
    parts = read(tmp_path)
    assert [len({sample.dialogue for sample in parts[part]}) for part in PARTS] == [28, 4, 8]
    everyone = [sample for part in PARTS for sample in parts[part]]
    assert all(sample.reply for sample in everyone)
    assert any(sample.user_facts for sample in everyone)
    assert sum(bool(sample.recommended) for sample in everyone) > 40
    assert not any("<" in turn.text or "|" in turn.text for sample in everyone for turn in sample.turns)
    assert json.loads((tmp_path / "skipped.json").read_text()) == {}
    assert EXAMPLES.source == ""


def message(sender, text):
    return {"senderWorkerId": sender, "text": text}


def conversation(name, *messages, mentions=None):
    return {
        "conversationId": name, "initiatorWorkerId": 1, "respondentWorkerId": 2, "movieMentions": mentions or [],
        "initiatorQuestions": {"9": {"liked": 1}}, "messages": list(messages),
    }  # fmt: skip


@pytest.fixture
def redial(tmp_path):
    """The public form; the folder to write to is `out`."""
    source = tmp_path / "redial"
    source.mkdir()
    (tmp_path / "out").mkdir()
    train = [
        conversation(str(n), message(1, "hi"), message(2, f"hello {n}"), message(1, "bye"), message(2, "bye"))
        for n in range(19)
    ]
    test = conversation(
        "t",
        message(2, "Hello"),
        message(1, "I&quot;m into"),
        message(1, "@11 and @12"),
        message(1, " "),
        message(2, "See @13, or @11 again"),
        message(1, "ok"),
        message(2, "@13!"),
        mentions={"11": "Heat  (1995)", "12": None, "13": "Thief (1981)"},
    )
    stranger = conversation("u", message(1, "hi"), message(3, "who am I?"))
    monologue = conversation("m", message(1, "hi"))
    long = conversation("l", message(1, "hi"), message(2, "hey"), message(1, "so " * 1000), message(2, "what?"))
    (source / "train_data.jsonl").write_text("\n".join(map(json.dumps, train)))
    tests = [test, stranger, monologue, long, train[0]]
    (source / "test_data.jsonl.gz").write_bytes(gzip.compress("\n".join(map(json.dumps, tests)).encode()))
    return source


def test_redial(redial, tmp_path, capsys):
    write_redial(redial, tmp_path / "out")
    parts = read(tmp_path / "out")
    assert [len(parts[part]) for part in PARTS] == [36, 2, 3]
    assert {sample.dialogue for sample in parts["valid"]} == {"9"}
    first, second, third = parts["test"]
    assert [turn.text for turn in first.turns] == ["Hello", 'I"m into Heat (1995) and the movie']
    assert first.reply == "See Thief (1981), or Heat (1995) again"
    assert (first.recommended, second.recommended) == (("Thief (1981)",), ())
    assert (first.id, first.dialogue, third.id) == ("t.2", "t", "l.1")
    assert all(sample.user_facts == () for sample in parts["test"])
    assert json.loads((tmp_path / "out" / "skipped.json").read_text()) == {
        "mentions of a film without a title": 1,
        "dialogues whose id came before": 1,
        "blank messages": 1,
        "replies that open a dialogue": 1,
        "dialogues with a turn of an unknown speaker": 1,
        "dialogues without a reply": 1,
        "dialogues cut before a turn of more than 2,000 characters": 1,
    }
    assert "left out: " in capsys.readouterr().err


def test_redial_with_a_valid_file_and_genres(redial, tmp_path):
    (redial / "valid_data.jsonl").write_text(json.dumps(conversation("v", message(1, "a"), message(2, "b"))))
    (redial / "movie_info.jsonl").write_text(json.dumps({"movie_id": "11", "genre": ["crime", "drama"]}))
    write_redial(redial, tmp_path / "out")
    parts = read(tmp_path / "out")
    assert [len(parts[part]) for part in PARTS] == [38, 1, 3]
    assert parts["test"][0].turns[1].items == (
        Item(item_id="11", fields={"title": "Heat (1995)", "genres": "crime, drama"}),
    )


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "line 1: is not JSON"),
        ("[]", "line 1: is list, not an object"),
        ("{}", "line 1, field 'initiatorWorkerId': is missing"),
        (json.dumps(conversation("a", "hi")), "line 1, message 1: is str, not an object"),
        (json.dumps(conversation("a", {"senderWorkerId": 1})), "line 1, message 1, field 'text': is missing"),
    ],
)
def test_redial_says_what_is_wrong(redial, tmp_path, content, said):
    (redial / "train_data.jsonl").write_text(content)
    with pytest.raises(DataError, match=said):
        write_redial(redial, tmp_path / "out")
    with pytest.raises(DataError, match=r"there is none of test_data.jsonl"):
        write_redial(tmp_path, tmp_path / "out")
    assert "test_data.jsonl" in REDIAL.source


def test_iard(tmp_path):
    def turn(role, text):
        return {"role": role, "utterance_text": text}

    turns = {"S1": turn("seeker", "hi, I saw @1 <Heat  (1995)> "), "R2": turn("recommender", "@2 <Thief (1981)>?")}
    rows = {str(n): {"dialogue_info": turns} for n in range(10)}
    (tmp_path / "iard.json").write_text(json.dumps(rows))
    write_iard(tmp_path, tmp_path)
    parts = read(tmp_path)
    assert [len(parts[part]) for part in PARTS] == [8, 1, 1]
    [sample] = parts["test"]
    assert (sample.turns[0].text, sample.reply) == ("hi, I saw Heat (1995)", "Thief (1981)?")
    assert sample.recommended == ("Thief (1981)",)
    assert "iard.json" in IARD.source
    (tmp_path / "iard.json").write_text('{"1": {"dialogue_info": {"S1": {"role": "seeker"}}}}')
    with pytest.raises(DataError, match="dialogue '1', turn 'S1', field 'utterance_text'"):
        write_iard(tmp_path, tmp_path)


def test_books(tmp_path):
    messages = [
        {"role": "user", "text": "books like Dune?", "item": ["Dune"]},
        {"role": "assistant", "text": "Hyperion", "item": ["Hyperion", "Dune"]},
    ]
    lines = [json.dumps({"dialog_id": n, "messages": messages}) for n in range(10)]
    (tmp_path / "dialog_Books.jsonl").write_text("\n".join(lines))
    write_books(tmp_path, tmp_path)
    [sample] = read(tmp_path)["test"]
    assert (sample.reply, sample.recommended, sample.named) == ("Hyperion", ("Hyperion",), ("Dune",))
    assert "dialog_Books.jsonl" in BOOKS.source
    with pytest.raises(DataError, match=r"needs a folder with one of dialog_Books\.jsonl"):
        write_books(None, tmp_path)


def test_turns_are_joined_and_films_are_new_once():
    film = Item(item_id="1", fields={"title": "Heat"})
    dialogue = Dialogue(
        "d",
        (
            Message("seeker", "hi"), Message("recommender", "a"), Message("recommender", "Heat", (film,)),
            Message("seeker", "no"), Message("recommender", "HEAT!", (film,)),
        ),
    )  # fmt: skip
    first, second = samples_of(dialogue, Skipped())
    assert (first.reply, first.recommended) == ("a Heat", ("Heat",))
    assert second.recommended == ()


def view(train):
    def none(samples, title):
        raise AssertionError(title)

    return RunView(
        parts={"train": train, "valid": (), "test": ()}, settings=ConversationConfig(domain=MOVIES),
        evaluation=EvaluationConfig(), logs=None, answer=none, losses=none, seed=0, main=True, say=print, output=None,
    )  # fmt: skip


def test_baselines(samples):
    train = [*samples, samples[0].model_copy(update={"id": "z", "reply": "Hello!"})]
    asking = [samples[1].model_copy(update={"id": "x", "reply": None})]
    assert nearest_dialogue(view(train), asking) == ["see Thief (1981)"]
    assert most_frequent(view(train), asking) == ["hello"]
    assert nearest_dialogue(view(()), asking) is most_frequent(view(()), asking) is None
    assert last_turns(asking[0]) == "what do you like? / I liked Heat (1995)"
    assert dialogue_text(asking[0]).startswith("hi what")
