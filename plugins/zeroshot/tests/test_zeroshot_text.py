"""What the backbone reads, and which part of it is scored."""

from __future__ import annotations

import pytest
from m6rec_plugin_zeroshot.prompts import PROMPTS, SILEO
from m6rec_plugin_zeroshot.sample import ChoiceSample
from m6rec_plugin_zeroshot.serialize import serialize
from m6rec_plugin_zeroshot.settings import ZeroshotConfig
from pydantic import ValidationError

from m6rec_core.errors import ConfigError
from m6rec_core.testing import tiny_backbone
from m6rec_core.text.domains import MOVIES
from m6rec_core.types import Region

SAMPLE = ChoiceSample(id="a", context=("Babe", "Heat"), choices=("Alien", "Speed  2"), label=1)


def texts(sample, **settings):
    """Each row as context|scored text."""
    rows = serialize(sample, ZeroshotConfig(domain=MOVIES, **settings)).rows
    return ["".join(f"|{s.text}" if s.scored else s.text for s in row.segments) for row in rows]


@pytest.mark.parametrize(("form", "context"), [
    ("list", "Babe, Heat,"), ("like", "Movies like Babe, Heat,"), ("similar", "Movies similar to Babe, Heat,"),
    ("like-colon", "Movies like: Babe, Heat,"), ("similar-colon", "Movies similar to: Babe, Heat,"),
    ("if-you-liked", "If you liked Babe, Heat, you will also like"),
    ("clicks", "A user clicks Babe, Heat, also clicks"),
    ("interests", "The user likes Babe, Heat, and is interested in"),
])  # fmt: skip
def test_every_form(form, context):
    assert texts(SAMPLE, prompts=form) == [f"{context}| Alien", f"{context}| Speed 2"]


def test_forms_are_those_of_the_protocol_and_all_are_named():
    assert set(SILEO) < set(PROMPTS)
    assert len(SILEO) == 6
    assert ZeroshotConfig(prompts="all").prompts == tuple(PROMPTS)


def test_rows_go_form_by_form_then_the_prior():
    assert texts(SAMPLE, prompts=("list", "like"), normalise="prior") == [
        "Babe, Heat,| Alien", "Babe, Heat,| Speed 2",
        "Movies like Babe, Heat,| Alien", "Movies like Babe, Heat,| Speed 2",
        "Movies:| Alien", "Movies:| Speed 2",
    ]  # fmt: skip


def test_a_text_stands_as_it_is_and_the_choice_brings_the_blank():
    asked = ChoiceSample(id="q", context="Q: a shark?  A: ", choices=("Jaws", "Heat"))
    assert texts(asked, prompts=("list", "like")) == ["Q: a shark?  A:| Jaws", "Q: a shark?  A:| Heat"]
    line = ChoiceSample(id="q", context="Films\n", choices=("Jaws", "Heat"))
    assert texts(line) == ["Films\n|Jaws", "Films\n|Heat"]


def test_no_titles_is_the_neutral_prompt():
    empty = ChoiceSample(id="q", context=(), choices=("Jaws", "Heat"))
    assert texts(empty) == ["Movies:| Jaws", "Movies:| Heat"]
    assert texts(empty, neutral="Films such as") == ["Films such as| Jaws", "Films such as| Heat"]
    assert texts(empty, noun="film", prompts="like") == ["Films:| Jaws", "Films:| Heat"]


def test_regions_of_the_papers_form():
    [row, _] = serialize(SAMPLE, ZeroshotConfig(domain=MOVIES, prompts="clicks", markers=True)).rows
    parts = ["".join(s.text for s in row.segments if s.region is region) for region in Region]
    assert parts == ["A user clicks Babe, Heat,", " also clicks Alien"]
    assert row.markers
    assert [s.text for s in row.segments if s.scored] == [" Alien"]


def test_old_titles_may_be_dropped_but_never_the_newest():
    [row, _] = serialize(SAMPLE, ZeroshotConfig(domain=MOVIES, prompts="like")).rows
    assert [s.droppable for s in row.segments] == [False, True, False, False]


def test_the_boundary_splits_tokens_as_the_whole_text_would():
    encode = tiny_backbone(layers=1).tokenizer.encode
    for row in serialize(SAMPLE, ZeroshotConfig(domain=MOVIES, prompts="like")).rows:
        pieces = [token for segment in row.segments for token in encode(segment.text)]
        assert tuple(pieces) == encode("".join(segment.text for segment in row.segments))


def test_label_plays_no_part():
    config = ZeroshotConfig(domain=MOVIES)
    assert len({serialize(SAMPLE.model_copy(update={"label": label}), config) for label in (None, (0,), (1,))}) == 1


def test_settings_name_what_is_wrong():
    with pytest.raises(ValidationError, match="'nothing': name one or more of list, like"):
        ZeroshotConfig(prompts=("nothing",))
    with pytest.raises(ValidationError, match="an empty list"):
        ZeroshotConfig(prompts=())
    with pytest.raises(ValidationError, match="named twice"):
        ZeroshotConfig(prompts=("list", "list"))
    with pytest.raises(ConfigError, match=r"settings\.noun"):
        serialize(SAMPLE, ZeroshotConfig(prompts="like"))
