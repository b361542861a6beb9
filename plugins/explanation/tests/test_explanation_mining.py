"""Sentences, features found by counting, and the agreement with annotated ones."""

from __future__ import annotations

import gzip
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from m6rec_plugin_explanation.mining.agreement import agreements, mean, read_annotated
from m6rec_plugin_explanation.mining.features import mentions, mine, opinion_distance
from m6rec_plugin_explanation.mining.sentences import continuing, sentences_of, tokens_of

from m6rec_core.errors import DataError

TEXTS = (
    ["The battery life is great.", "I love the battery life!", "Its battery life was very poor."] * 3
    + ["The zipper is nice.", "A solid zipper, really.", "My zipper is broken."] * 3
    + ["I walked to the station.", "We walked and walked.", "The station was open."] * 3
)


def test_sentences():
    assert sentences_of('It fits.I was glad! "Really?" she said\nSize 3.5 is fine') == [
        "It fits.", "I was glad!", '"Really?', "she said", "Size 3.5 is fine",
    ]  # fmt: skip
    assert sentences_of(" \n ") == []
    assert sentences_of("很好。喜欢！") == ["很好。", "喜欢！"]
    assert sentences_of("👍") == ["👍"]


@given(st.text())
def test_sentences_keep_every_letter(text):
    kept = "".join(sentences_of(text))
    assert [c for c in kept if c.isalnum()] == [c for c in text if c.isalnum()]


def test_tokens():
    assert tokens_of("Don’t like the i/p-button, true-to-size!") == (
        "don't", "like", "the", "i/p-button", ",", "true-to-size", "!",
    )  # fmt: skip


def test_continuing():
    assert continuing("The fit is great") == "the fit is great"
    assert continuing("I love it") == "I love it"
    assert continuing("USB works") == "USB works"
    assert continuing("A joy") == "a joy"


def test_mining_finds_what_opinions_are_about():
    mined = mine([tokens_of(text) for text in TEXTS])
    assert "battery life" in mined.features
    assert mined.features["battery life"] == 9
    assert "zipper" in mined.features
    assert "life" not in mined.features, "it never stands alone"
    assert "station" not in mined.features, "nobody says what they think of it"
    assert "walked" not in mined.features
    assert {"great", "poor"} <= mined.opinions


def test_opinion_words_are_learnt_behind_intensifiers():
    texts = ["the hem is very swishy", "so swishy", "a really swishy hem"]
    assert "swishy" in mine([tokens_of(text) for text in texts]).opinions
    assert "hem" not in mine([tokens_of(text) for text in texts]).opinions


def test_longer_features_win():
    tokens = tokens_of("the battery life of this battery")
    assert mentions(tokens, {"battery life": 3, "battery": 9, "life": 1}) == [("battery life", 1, 3), ("battery", 5, 6)]
    assert opinion_distance(tokens_of("the zipper is so nice"), 1, 2, frozenset({"nice"}), 4) == 3
    assert opinion_distance(tokens_of("the zipper is so nice"), 1, 2, frozenset({"nice"}), 2) is None


def annotated(tmp_path, rows):
    path = tmp_path / "sentences.jsonl.gz"
    path.write_bytes(gzip.compress("\n".join(map(json.dumps, rows)).encode()))
    return path


def test_agreement(tmp_path):
    rows = [
        {"product": "p", "sentence": text, "features": [{"feature": name} for name in ("battery life", "zippers")
                                                        if name.rstrip("s") in text]}
        for text in TEXTS
    ]  # fmt: skip
    [found] = agreements(read_annotated(annotated(tmp_path, rows)))
    assert (found.mined, found.annotated) == (2, 2)
    assert (found.precision, found.recall, found.sentence_precision, found.sentence_recall) == (1, 1, 1, 1)
    assert mean([found])["recall"] == 1


def test_agreement_with_what_is_not_there(tmp_path):
    rows = [{"product": "p", "sentence": text, "features": [{"feature": "price"}]} for text in TEXTS]
    [found] = agreements(read_annotated(annotated(tmp_path, rows)))
    assert (found.precision, found.annotated) == (0, 0)
    with pytest.raises(DataError, match="line 1: is not a sentence"):
        read_annotated(annotated(tmp_path, [{"product": "p"}]))
    with pytest.raises(DataError, match="cannot be read"):
        read_annotated(tmp_path / "none.jsonl")
