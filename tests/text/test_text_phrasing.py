import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from m6rec_core.text.domains import MOVIES, PRODUCTS
from m6rec_core.text.phrasing import (
    RATE_EDGES,
    ago,
    event_phrase,
    item_phrase,
    month_word,
    rate_word,
    season_word,
    short_item,
    user_phrase,
    user_rate_word,
)
from m6rec_core.text.template import clean, render
from m6rec_core.types import Event, Item

HEAT = Item(item_id="1", fields={"title": "Heat", "year": "1995", "genres": "Action, Sci-Fi"})


def test_item_phrases():
    assert item_phrase(MOVIES, HEAT) == 'a movie named "Heat" (1995) of genre Action, Sci-Fi'
    assert short_item(MOVIES, HEAT) == "Heat"
    boots = Item(item_id="2", fields={"title": "hiking shoes", "category": "boots"})
    assert item_phrase(PRODUCTS, boots) == 'a product of category "boots" named "hiking shoes"'


@pytest.mark.parametrize("domain", [MOVIES, PRODUCTS])
@pytest.mark.parametrize(
    "fields", [{}, {"title": ""}, {"title": " \n"}, {"year": "1995"}, {"category": "x", "genres": "y"}]
)
def test_missing_fields_drop_their_clause(domain, fields):
    item = Item(item_id="1", fields=fields)
    for text in (item_phrase(domain, item), short_item(domain, item)):
        assert text
        assert not any(sign in text for sign in ('""', "()", "None", "nan", "{", "}", "[", "]", "  "))
    assert short_item(domain, item) == f"unnamed {domain.noun}"


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"age": "24", "gender": "male", "occupation": "technician"}, "A 24 year old male technician"),
        ({"age": "18-24", "gender": "female"}, "An 18-24 year old female viewer"),
        ({"age": "80"}, "An 80 year old viewer"),
        ({"age": "110"}, "A 110 year old viewer"),
        ({"age": "180"}, "A 180 year old viewer"),
        ({"occupation": "engineer"}, "An engineer"),
        ({"zip_code": "123"}, ""),
        ({}, ""),
    ],
)
def test_user_phrase(fields, text):
    assert user_phrase(MOVIES, fields) == text


def test_event_phrases():
    event = Event(item=HEAT, kind="rating", timestamp=0.0)
    assert event_phrase(MOVIES, event) == 'rated a movie named "Heat" (1995) of genre Action, Sci-Fi'
    assert event_phrase(MOVIES, event, False).endswith(": disliked")
    search = Event(item=Item(item_id="q1", fields={"query": "winter stuff"}), kind="search", timestamp=0.0)
    assert event_phrase(PRODUCTS, search) == 'searched "winter stuff"'
    other = Event(item=Item(item_id="3", fields={"title": "mug"}), kind="gave_back", timestamp=0.0)
    assert event_phrase(PRODUCTS, other, True) == 'gave back a product named "mug": yes'


def test_rate_words_have_seven_rising_steps():
    rates = [0.1, *RATE_EDGES, 0.9]
    words = [rate_word(rate, 5, MOVIES) for rate in rates]
    assert words[0] == words[1] == "hated by most viewers"
    assert words[-1] == "loved by most viewers"
    assert len(set(words)) == 7
    assert rate_word(0.9, 0, MOVIES) == "new"
    assert "customers" in rate_word(0.5, 1, PRODUCTS)
    assert user_rate_word(0.7, 3, MOVIES) == "The user likes most movies."
    assert user_rate_word(0.7, 0, MOVIES) == "The user is new."
    assert len({user_rate_word(rate, 1, MOVIES) for rate in rates}) == 7


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "just now"), (59, "just now"), (60, "1 minute ago"), (23 * 60 + 5, "23 minutes ago"), (7200, "2 hours ago"),
        (86_400 * 3, "3 days ago"), (86_400 * 70, "2 months ago"), (86_400 * 800, "2 years ago"), (-5, "just now"),
    ],
)  # fmt: skip
def test_ago(seconds, text):
    assert ago(seconds) == text


def test_months_and_seasons():
    december, july = 1_071_000_000, 1_057_100_000
    assert (month_word(december), season_word(december)) == ("December", "winter")
    assert (month_word(july), season_word(july)) == ("July", "summer")


@given(st.text(max_size=40))
def test_clean_leaves_one_line_without_control_characters(text):
    result = clean(text)
    assert result == result.strip() == clean(result)
    assert not any(ord(sign) < 32 or sign in "\x7f\x85\u2028\u2029\u202e" for sign in result)


def test_title_with_line_breaks_stays_on_its_line():
    item = Item(item_id="1", fields={"title": "Alien\r\nliked\x00\u202e\tX"})
    assert short_item(MOVIES, item) == "Alien liked X"


@given(st.dictionaries(st.sampled_from("abc"), st.text(string.printable, max_size=5)))
def test_values_are_never_read_as_templates(fields):
    text = render("[{a}|{b}|-] [{c}]", fields)
    assert text is not None
    for name in "abc":
        value = clean(fields.get(name, ""))
        if name == "c" and value:
            assert text.endswith(value)


def test_a_missing_field_outside_brackets_fails_the_phrase():
    assert render("{a}[ {b}]", {"b": "x"}) is None
    assert render("{a}[ {b}]", {"a": "{b}[x]"}) == "{b}[x]"
