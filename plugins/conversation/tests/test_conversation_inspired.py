"""INSPIRED's tables: films, quotation marks, parts of the files and drawn ones, and what is wrong with a file."""

from __future__ import annotations

import gzip
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from m6rec_plugin_conversation.dialogues import Dialogue, Message, Skipped, distinct, validated
from m6rec_plugin_conversation.inspired import write_inspired
from m6rec_plugin_conversation.recipes import INSPIRED
from m6rec_plugin_conversation.sample import DialogueSample

from m6rec_core.errors import DataError
from m6rec_core.logs import read_samples
from m6rec_core.logs.datasets import prepare

PARTS = ("train", "valid", "test")
HEADER = "dialog_id\tutt_id\tspeaker\ttext\ttext_with_placeholder\tmovies\tgenres"


def row(name, speaker, text, movies=""):
    return f"{name}\t1\t{speaker}\t{text}\t\t{movies}\t"


def short(name):
    return [row(name, "SEEKER", "hi"), row(name, "RECOMMENDER", f"hello {name}")]


def table(*dialogues):
    return "\n".join([HEADER, *(line for rows in dialogues for line in rows)]) + "\n"


def read(folder):
    return {part: list(read_samples(folder / f"{part}.jsonl", DialogueSample)) for part in PARTS}


TALK = [
    row("t", "RECOMMENDER", "Hello!"),
    row("t", "SEEKER", "I saw QUOTATION_MARKHeatQUOTATION_MARK", " Heat  (1995);Thief (1981) ; Heat (1995); "),
    row("t", "SEEKER", '"and ""Thief"" & more"'),
    row("t", "SEEKER", " "),
    row("t", "RECOMMENDER", '"Alien" or Heat?', "Alien (1979); Heat (1995)"),
    row("t", "SEEKER", "ok"),
    row("t", "RECOMMENDER", "Bye"),
]


@pytest.fixture
def source(tmp_path):
    """The three files; the folder to write to is `out`."""
    folder = tmp_path / "inspired"
    folder.mkdir()
    (tmp_path / "out").mkdir()
    (folder / "train.tsv").write_text(table(*(short(f"a{n}") for n in range(20))))
    (folder / "dev.tsv").write_text(table(short("v")))
    stranger = [row("s", "SEEKER", "hi"), row("s", "MODERATOR", "quiet")]
    text = table(TALK, stranger, short("a3")).replace("\n", "\r\n")
    (folder / "test.tsv.gz").write_bytes(gzip.compress(text.encode("utf-8-sig")))
    return folder


def test_films_and_quotation_marks(source, tmp_path, capsys):
    write_inspired(source, tmp_path / "out")
    parts = read(tmp_path / "out")
    assert [len(parts[part]) for part in PARTS] == [20, 1, 2]
    first, second = parts["test"]
    assert [turn.text for turn in first.turns] == ["Hello!", 'I saw "Heat" and "Thief" & more']
    assert first.named == ("Heat (1995)", "Thief (1981)")
    assert (first.reply, first.recommended) == ('"Alien" or Heat?', ("Alien (1979)",))
    assert (second.reply, second.recommended) == ("Bye", ())
    assert json.loads((tmp_path / "out" / "skipped.json").read_text()) == {
        "dialogues whose id came before": 1,
        "blank messages": 1,
        "replies that open a dialogue": 1,
        "dialogues with a turn of an unknown speaker": 1,
    }
    assert "drawn" not in capsys.readouterr().err


def test_without_dev_every_tenth_training_dialogue_validates(source, tmp_path):
    (source / "dev.tsv").unlink()
    write_inspired(source, tmp_path / "out")
    parts = read(tmp_path / "out")
    assert [sample.dialogue for sample in parts["valid"]] == ["a9", "a19"]
    assert len(parts["train"]) == 18


def test_without_train_parts_are_drawn_and_told(source, tmp_path, capsys):
    (source / "train.tsv").rename(source / "dev.tsv")
    write_inspired(source, tmp_path / "out")
    parts = read(tmp_path / "out")
    dialogues = [{sample.dialogue for sample in parts[part]} for part in PARTS]
    assert set.union(*dialogues) == {"t", *(f"a{n}" for n in range(20))}
    assert sum(map(len, dialogues)) == 21
    told = capsys.readouterr().err
    assert "there is no train.tsv, so the 22 dialogues of dev.tsv and test.tsv.gz are drawn" in told
    assert "train.tsv" in INSPIRED.source


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", r"dev.tsv, line 1: there is no column 'dialog_id'"),
        (HEADER.replace("movies", "films"), r"dev.tsv, line 1: there is no column 'movies'"),
        (f"{HEADER}\n\n", r"dev.tsv: there is no utterance in it"),
        (f"{HEADER}\n\na\t1\tSEEKER\thi", r"dev.tsv, line 3: it has 4 cells, the header 7"),
        (f"{HEADER}\n{row(' ', 'SEEKER', 'hi')}", r"dev.tsv, line 2, field 'dialog_id': is blank"),
    ],
)
def test_inspired_says_what_is_wrong(source, tmp_path, content, said):
    (source / "dev.tsv").write_text(content)
    with pytest.raises(DataError, match=said):
        prepare("inspired", tmp_path / "made", progress=False, source=source)
    assert not (tmp_path / "made").exists()


def test_inspired_needs_its_files(source, tmp_path):
    with pytest.raises(DataError, match=r"there is none of train\.tsv, dev\.tsv, test\.tsv"):
        write_inspired(tmp_path, tmp_path / "out")
    with pytest.raises(DataError, match="needs a folder"):
        write_inspired(None, tmp_path / "out")
    (source / "test.tsv.gz").write_bytes(b"x")
    with pytest.raises(DataError, match=r"test\.tsv\.gz: cannot be read"):
        write_inspired(source, tmp_path / "out")
    (source / "test.tsv.gz").unlink()
    with pytest.raises(DataError, match=r"there is none of test\.tsv"):
        write_inspired(source, tmp_path / "out")


IDS = st.lists(st.integers(min_value=0, max_value=60).map(str), max_size=60)


@given(train=IDS, valid=IDS, test=IDS)
@settings(max_examples=50, deadline=None)
def test_no_dialogue_is_in_two_parts(train, valid, test):
    def dialogues(names):
        return [Dialogue(name, (Message("seeker", "hi"),)) for name in names]

    skipped = Skipped()
    parts = validated(
        distinct({"train": dialogues(train), "valid": dialogues(valid), "test": dialogues(test)}, skipped)
    )
    found = [dialogue.id for one in parts.values() for dialogue in one]
    assert sorted(found) == sorted(set(train + valid + test))
    assert skipped.total() == len(train + valid + test) - len(found)
