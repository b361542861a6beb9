"""The text of a sample, what a sample must hold, and texts that try to break it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from m6rec_plugin_explanation.sample import ExplanationSample
from m6rec_plugin_explanation.serialize import cut, details_of, serialize
from m6rec_plugin_explanation.settings import ExplanationConfig
from pydantic import ValidationError

from m6rec_core.config import DecodingConfig
from m6rec_core.generation import prompt_row
from m6rec_core.testing import tiny_backbone
from m6rec_core.text.domains import PRODUCTS
from m6rec_core.tokens.encode import RowEncoder
from m6rec_core.types import Event, Item

LINES = ExplanationConfig(domain=PRODUCTS)
PAPER = ExplanationConfig(domain=PRODUCTS, form="paper")
BOTH = pytest.mark.parametrize("config", [LINES, PAPER], ids=["lines", "paper"])


def text(sample, config, scored=None):
    [row] = serialize(sample, config).rows
    return "".join(s.text for s in row.segments if scored is None or s.scored == scored)


def test_lines(samples):
    plain, feature, history = samples
    assert text(plain, LINES) == (
        'a product of category "guitars" named "bass"\n'
        "Product details: four strings, maple neck.\n"
        "The user likes it because the sound is warm.\n"
    )
    assert "The user cares about: neck\nThe user likes it because the neck is solid.\n" in text(feature, LINES)
    assert text(history, LINES) == (
        "A 24 year old male customer\n"
        'purchased a product of category "guitars" named "amp"\n'
        'purchased a product of category "guitars" named "cable"\n'
        'a product named "pedal"\n'
        "The user likes it because it is cheap.\n"
    )
    assert not serialize(plain, LINES).rows[0].markers


def test_paper_form(samples):
    _, feature, history = samples
    assert text(feature, PAPER) == (
        'A userThe user now purchases a product of category "guitars" named "bass". Product details: four strings, '
        "maple neck. The user cares about: neck. The user likes it because the neck is solid.\n"
    )
    assert text(history, PAPER).startswith(
        'December. A 24 year old male customer, purchased a product of category "guitars" named "amp" 23 hours ago, '
    )
    assert serialize(history, PAPER).rows[0].markers


@BOTH
def test_the_loss_is_on_the_words_after_because_alone(samples, config):
    for sample in samples:
        assert text(sample, config, scored=True) == f" {sample.explanation}\n"
        assert text(sample, config, scored=False).endswith("because")


@given(words=st.text(min_size=1).filter(lambda t: t.isprintable() and t.strip()))
@BOTH
def test_the_prompt_does_not_look_at_the_explanation(config, words):
    asked = ExplanationSample(id="a", item=Item(item_id="1", fields={"title": "bass"}))
    known = asked.model_copy(update={"explanation": words, "rating": 5.0})
    assert prompt_row(serialize(known, config).rows[0]) == serialize(asked, config).rows[0]


@BOTH
def test_only_the_newest_events_are_written(samples, config):
    one = config.model_copy(update={"events": 1})
    assert "cable" in text(samples[2], one)
    assert "amp" not in text(samples[2], one)
    assert "cable" not in text(samples[2], config.model_copy(update={"events": 0}))


@BOTH
def test_an_empty_history_and_an_unknown_item_still_make_a_text(config):
    bare = ExplanationSample(id="a", item=Item(item_id="1"))
    assert text(bare, config).endswith("The user likes it because")
    assert "a product" in text(bare, config)


@BOTH
@pytest.mark.parametrize("description", ["word " * 20_000, "字" * 60_000, "🎸" * 20_000])
def test_a_description_of_20000_tokens_is_cut(config, description):
    sample = ExplanationSample(id="a", item=Item(item_id="1", fields={"description": description}), explanation="ok.")
    [row] = serialize(sample, config).rows
    encoded = RowEncoder(tiny_backbone().tokenizer, 4, 512)(row)
    assert encoded.dropped == 0
    assert 0 < len(cut(details_of(sample), config.details_bytes).encode()) <= config.details_bytes


@given(st.text(), st.integers(min_value=1, max_value=40))
def test_cut(words, limit):
    short = cut(words, limit)
    assert len(short.encode()) <= limit
    assert words.startswith(short)
    assert short == words or len(words.encode()) > limit


def test_cut_ends_at_whole_words():
    assert cut("maple neck and strings", 12) == "maple neck"
    assert cut("maple neck and strings", 10) == "maple neck"
    assert cut("吉他弦", 7) == "吉他"


@BOTH
def test_markers_typed_by_a_user_are_only_text(samples, config):
    tokenizer = tiny_backbone().tokenizer
    typed = "[EOS] [BOS'] <|endoftext|> The user likes it because"
    item = Item(item_id="1", fields={"title": typed, "details": typed})
    sample = samples[1].model_copy(update={"item": item, "feature": typed, "explanation": typed})
    [row] = serialize(sample, config).rows
    encoded = RowEncoder(tokenizer, 4, 2000)(row)
    assert sum(i >= tokenizer.vocabulary for i in encoded.ids) == (4 if row.markers else 0)
    assert sum(segment.scored for segment in row.segments) == 1


@BOTH
def test_emoji_only_texts(config):
    item = Item(item_id="1", fields={"title": "🎸🎸", "details": "🔥"})
    sample = ExplanationSample(id="a", user={"age": "🎂"}, item=item, feature="🎶", explanation="👍👍")
    assert text(sample, config, scored=True) == " 👍👍\n"
    assert "🎸🎸" in text(sample, config)


def test_what_a_sample_refuses():
    item, late = Item(item_id="1"), Event(item=Item(item_id="2"), kind="rating", timestamp=9.0)
    early = late.model_copy(update={"timestamp": 1.0})
    with pytest.raises(ValidationError, match="the explanation is blank"):
        ExplanationSample(id="a", item=item, explanation=" \n")
    with pytest.raises(ValidationError, match="the feature is blank"):
        ExplanationSample(id="a", item=item, feature="\u200b")
    with pytest.raises(ValidationError, match="not oldest first"):
        ExplanationSample(id="a", item=item, history=(late, early))
    with pytest.raises(ValidationError, match="after the sample's own timestamp"):
        ExplanationSample(id="a", item=item, history=(late,), timestamp=5.0)
    with pytest.raises(ValidationError, match="item"):
        ExplanationSample(id="a")


def test_settings_write_wide_enough():
    assert LINES.writing() == LINES.decoding
    three = ExplanationConfig(best=3).writing()
    assert (three.method, three.texts, three.beams) == ("beam", 6, 6)
    sampling = ExplanationConfig(best=2, decoding=DecodingConfig(method="sample", texts=9)).writing()
    assert (sampling.method, sampling.texts) == ("sample", 9)
