from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from m6rec_core.testing import tiny_tokenizer
from m6rec_core.tokens import tokenizer
from m6rec_core.tokens.markers import MARKER_COUNT, Marker
from m6rec_core.tokens.tokenizer import TextTokenizer

TOKENIZER = TextTokenizer(tiny_tokenizer(), 320)
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<s>", "</s>", "[EOS]", "[BOS']", "[MASK]", "<unk>", "<|", "|>"]
TEXT = st.lists(st.one_of(st.text(), st.sampled_from(SPECIAL)), max_size=6).map("".join)


@settings(max_examples=300, deadline=None)
@given(text=TEXT)
def test_text_never_produces_a_marker_or_a_special_token(text):
    ids = TOKENIZER.encode(text)
    assert all(0 <= i < TOKENIZER.vocabulary for i in ids)
    assert not set(ids) & set(TOKENIZER.special_tokens().values())
    assert TOKENIZER.encode(text) == ids


@settings(max_examples=100, deadline=None)
@given(text=TEXT)
def test_text_comes_back(text):
    assert TOKENIZER.decode(TOKENIZER.encode(text)) == text


@pytest.mark.parametrize("text", ["\ud800", "a\udfffb"])
def test_half_a_character_is_replaced_not_a_crash(text):
    assert TOKENIZER.encode(text) == TOKENIZER.encode(text.encode("utf-8", "replace").decode())


def test_markers_lie_above_the_vocabulary_and_print_as_in_the_paper():
    ids = [TOKENIZER.marker(m) for m in Marker]
    assert ids == list(range(320, 320 + MARKER_COUNT))
    assert TOKENIZER.decode([ids[0], *TOKENIZER.encode("hi"), ids[1]]) == "[BOS']hi[EOS']"
    assert [m.label for m in Marker] == ["[BOS']", "[EOS']", "[BOS]", "[EOS]", "[MASK]"]


def test_pieces_print_tokens_markers_and_prompts():
    assert TOKENIZER.piece(TOKENIZER.encode("a")[0]) == "a"
    assert TOKENIZER.piece(TOKENIZER.marker(Marker.MASK)) == "[MASK]"
    assert TOKENIZER.piece(-3) == "<prompt 2>"
    assert TOKENIZER.decode([-1, *TOKENIZER.encode("a")]) == "<prompt 0>a"


def test_the_special_tokens_are_known():
    assert TOKENIZER.special_tokens() == {"<|endoftext|>": 0}


def test_only_so_many_texts_are_remembered(monkeypatch):
    monkeypatch.setattr(tokenizer, "REMEMBERED", 3)
    asked = []
    own = tiny_tokenizer()

    class Counted:
        def __call__(self, text, **options):
            asked.append(text)
            return own(text, **options)

    few = TextTokenizer(Counted(), 320)
    for text in ("a", "b", "c", "a", "d", "a", "b"):
        assert few.encode(text) == TOKENIZER.encode(text)
    assert asked == ["a", "b", "c", "d", "b"], "the one not asked for longest is forgotten"
