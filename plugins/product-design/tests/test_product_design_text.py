"""The text of a sample, what a sample must hold, the settings, and which designs are chosen."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from m6rec_plugin_product_design.head import Design, chosen_designs, design_of, unanswered
from m6rec_plugin_product_design.sample import DesignSample
from m6rec_plugin_product_design.serialize import answer_of, joined, parted, serialize
from m6rec_plugin_product_design.settings import DesignConfig
from pydantic import ValidationError

from m6rec_core.config import DecodingConfig
from m6rec_core.generation import prompt_row
from m6rec_core.metrics.text.novelty import normalised
from m6rec_core.text.domains import PRODUCTS
from m6rec_core.text.template import clean
from m6rec_core.types import Event, Item, Written

LINES = DesignConfig(domain=PRODUCTS)
PAPER = DesignConfig(domain=PRODUCTS, form="paper")
TOLD = DesignConfig(domain=PRODUCTS, category_given=True)
WORDS = st.text(max_size=12).filter(lambda text: bool(clean(text)))


def text(sample, config, scored=None):
    [row] = serialize(sample, config).rows
    return "".join(s.text for s in row.segments if scored is None or s.scored == scored)


def test_lines(samples):
    history, wishes, plain = samples
    assert text(history, LINES) == (
        "A 24 year old male customer\n"
        "purchased: shoes | boots\n"
        "purchased: socks | wool socks\n"
        "next product (category | title): shoe care | boot wax\n"
    )
    assert text(wishes, LINES) == "colour: blue\nnext product (category | title): hats | blue hat\n"
    assert text(plain, LINES) == "purchased: Zelda\nnext product (category | title): Zelda 2\n"
    assert text(wishes, LINES, scored=True) == " hats | blue hat\n"
    assert not serialize(wishes, LINES).rows[0].markers


def test_a_given_category_leaves_the_title(samples):
    wishes = samples[1]
    assert text(wishes, TOLD, scored=True) == " blue hat\n"
    assert text(wishes, TOLD) == text(wishes, LINES)
    asked = wishes.model_copy(update={"title": None})
    assert text(asked, LINES) == "colour: blue\nnext product (category | title): hats |"
    assert unanswered(wishes, LINES).category == ""
    assert unanswered(wishes, TOLD) == asked
    assert design_of(Written(" red | hat\n", 4, -2.0, True), asked, LINES).title == "red | hat"


def test_paper_form(samples):
    history = samples[0]
    assert text(history, PAPER) == (
        'December. A 24 year old male customer, purchased a product of category "shoes" named "boots" 23 hours ago, '
        'purchased a product of category "socks" named "wool socks" 23 hours ago, '
        "The user now purchases a product of category shoe care named boot wax"
    )
    [row] = serialize(history, PAPER).rows
    assert row.markers
    assert row.scored_end
    assert text(samples[2], PAPER, scored=True) == " named Zelda 2"


@given(category=WORDS, title=WORDS)
@pytest.mark.parametrize("config", [LINES, PAPER], ids=["lines", "paper"])
def test_the_prompt_does_not_look_at_the_product(config, category, title):
    asked = DesignSample(id="a", attributes={"colour": "blue"})
    known = asked.model_copy(update={"category": category, "title": title})
    assert prompt_row(serialize(known, config).rows[0]) == serialize(asked, config).rows[0]


@given(category=st.sampled_from(["", "shoes", "a | b", "x named y"]), title=WORDS)
@pytest.mark.parametrize("config", [LINES, PAPER], ids=["lines", "paper"])
def test_texts_can_be_taken_apart(config, category, title):
    found, name = parted(joined(category, title, config), config)
    assert normalised(found) == normalised(category.replace(" named ", " called ") if config is PAPER else category)
    assert normalised(name.replace(" called ", " named ")) == normalised(clean(title))


def test_what_a_sample_must_hold():
    with pytest.raises(ValidationError, match="neither a history nor an attribute nor a category"):
        DesignSample(id="a", user={"age": "3"}, attributes={"colour": " "})
    with pytest.raises(ValidationError, match="the title is blank"):
        DesignSample(id="a", category="hats", title="\u200b")
    assert answer_of(DesignSample(id="a", category="hats"), LINES) is None


def test_a_long_description_is_not_written_and_markers_are_words():
    item = Item(item_id="1", fields={"title": "[EOS] boots <|endoftext|>", "description": "long " * 20_000})
    sample = DesignSample(id="a", history=(Event(item=item, kind="purchase", timestamp=0.0),))
    assert text(sample, LINES) == "purchased: [EOS] boots <|endoftext|>\nnext product (category | title):"


def test_nameless_items_of_the_history():
    item = Item(item_id="1", fields={"title": " "})
    sample = DesignSample(id="a", history=(Event(item=item, kind="odd_kind", timestamp=0.0),))
    assert text(sample, LINES) == "odd kind a product\nnext product (category | title):"


def design(title, mean):
    return Design("hats", title, 3 * mean, mean)


def test_designs_are_unlike_and_none_comes_twice():
    found = [design("red wool hat", -1.0), design("Red wool hat!", -0.5), design("red wool cap", -1.1),
             design("straw boater", -1.5), design("", -0.1), design("🎩", -9.0)]  # fmt: skip
    titles = lambda **settings: [one.title for one in chosen_designs(found, DesignConfig(**settings))]  # noqa: E731
    assert titles(best=3) == ["Red wool hat!", "straw boater", "red wool cap"]
    assert titles(best=3, diversity=0.0) == ["Red wool hat!", "red wool cap", "straw boater"]
    assert titles(best=9)[-1] == "🎩"
    assert chosen_designs([], DesignConfig()) == []


@given(st.lists(st.tuples(st.text(alphabet="ab -", max_size=4), st.floats(-9, 0)), max_size=9), st.integers(1, 5))
def test_choice_properties(pairs, best):
    found = chosen_designs([design(clean(title), mean) for title, mean in pairs], DesignConfig(best=best))
    keys = [normalised(one.title) for one in found]
    assert len(set(keys)) == len(keys)
    assert len(keys) == min(best, len({normalised(clean(title)) for title, _ in pairs if clean(title)}))


def test_several_designs_are_sampled_unless_beams_are_set():
    assert LINES.writing() == LINES.decoding
    three = DesignConfig(best=3, seed=5).writing()
    assert (three.method, three.texts, three.top_p, three.seed) == ("sample", 9, 0.9, 5)
    beams = DesignConfig(best=3, decoding=DecodingConfig(method="beam")).writing()
    assert (beams.method, beams.texts, beams.beams) == ("beam", 6, 6)
    hot = DesignConfig(best=2, decoding=DecodingConfig(method="sample", top_p=0.5)).writing()
    assert (hot.top_p, hot.texts) == (0.5, 6)
