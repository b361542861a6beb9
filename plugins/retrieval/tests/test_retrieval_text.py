"""What is written of users and items."""

from __future__ import annotations

import pytest
from m6rec_plugin_retrieval.sample import RetrievalSample, item_sample, user_sample
from m6rec_plugin_retrieval.serialize import item_text, serialize
from m6rec_plugin_retrieval.settings import RetrievalConfig

from m6rec_core.errors import DataError
from m6rec_core.text.domains import MOVIES
from m6rec_core.types import Item, Pooling, Readout, Region

CONFIG = RetrievalConfig(user="text", domain=MOVIES)


def text(row):
    return "".join(segment.text for segment in row.segments)


def test_a_pair_is_two_rows(samples):
    user, item = serialize(samples[1], CONFIG).rows
    assert text(user) == "Film 0\nFilm 3\n"
    assert {segment.region for segment in user.segments} == {Region.BIDIRECTIONAL}
    assert user.readout is Readout.SOURCE
    assert text(item) == "Film 6 (1986), Drama\n"
    assert {segment.region for segment in item.segments} == {Region.AUTOREGRESSIVE}
    assert item.readout is Readout.TARGET
    assert [segment.droppable for segment in user.segments] == [True, False]


def test_words_of_the_settings(samples):
    config = CONFIG.model_copy(
        update={"user_phrase": True, "event_year": True, "event_genres": True, "item_genres": False, "markers": True}
    )
    user, item = serialize(samples[0], config).rows
    assert text(user) == "A 24 year old male writer\nFilm 0 (1980), Drama\n"
    assert text(item) == "Film 3 (1983)\n"
    assert user.markers
    assert item.markers


def test_statistics_in_words(samples):
    event = samples[0].history[0].model_copy(update={"statistics": {"item_rate": 0.9, "item_count": 8.0}})
    popular = Item(item_id="x", fields={"title": "Heat", "popularity": "very popular"})
    sample = samples[0].model_copy(update={"history": (event,), "candidate": popular})
    config = CONFIG.model_copy(update={"event_words": True, "item_words": True})
    assert [text(row) for row in serialize(sample, config).rows] == ["Film 0, great\n", "Heat, very popular\n"]
    assert [text(row) for row in serialize(sample, CONFIG).rows] == ["Film 0\n", "Heat\n"]


@pytest.mark.parametrize("user", ["text", "events"])
def test_every_row_is_read_as_the_settings_say(samples, user):
    for pooling in Pooling:
        config = RetrievalConfig(user=user, domain=MOVIES, pooling=pooling)
        assert {row.pooling for row in serialize(samples[1], config).rows} == {pooling}
    assert RetrievalConfig(domain=MOVIES).pooling is Pooling.MEAN


def test_one_half_alone(samples):
    assert [text(row) for row in serialize(user_sample(samples[0]), CONFIG).rows] == ["Film 0\n"]
    assert [text(row) for row in serialize(item_sample(samples[0].candidate), CONFIG).rows] == [
        "Film 3 (1983), Drama\n"
    ]
    with pytest.raises(DataError, match="neither a history nor a candidate"):
        serialize(RetrievalSample(id="empty"), CONFIG)


def test_the_answer_does_not_change_the_user(samples):
    other = samples[0].model_copy(update={"candidate": samples[3].candidate})
    assert serialize(other, CONFIG).rows[0] == serialize(samples[0], CONFIG).rows[0]


def test_item_text_is_one_line():
    assert item_text(Item(item_id="1", fields={"title": "A\nB", "year": "1999"}), CONFIG) == "A B (1999)"
    assert item_text(Item(item_id="1"), CONFIG) == "unnamed movie"


def test_pairs_of_a_user_are_drawn_together(samples):
    assert samples[0].group == samples[1].group == "u1"
    assert item_sample(samples[0].candidate).group == "item:i3"
