from __future__ import annotations

import pytest
from m6rec_plugin_explanation import plugin
from m6rec_plugin_explanation.reviews import Review
from m6rec_plugin_explanation.sample import ExplanationSample

from m6rec_core.types import Event, Item

DAY = 86_400.0
NOW = 12 * 365 * DAY
NOUNS = ("strings", "neck", "sound", "case")
OPINIONS = ("great", "solid", "poor", "nice", "bright")


def bought(number: int, title: str) -> Event:
    item = Item(item_id=str(number), fields={"title": title, "category": "guitars"})
    return Event(item=item, kind="purchase", timestamp=NOW - DAY + number)


@pytest.fixture
def task():
    return plugin


@pytest.fixture
def samples() -> list[ExplanationSample]:
    guitar = Item(item_id="9", fields={"title": "bass", "category": "guitars", "details": "four strings, maple neck."})
    return [
        ExplanationSample(id="plain", item=guitar, explanation="the sound is warm."),
        ExplanationSample(id="feature", item=guitar, feature="neck", explanation="the neck is solid."),
        ExplanationSample(
            id="history",
            user_id="u1",
            user={"age": "24", "gender": "male"},
            history=(bought(1, "amp"), bought(2, "cable")),
            item=Item(item_id="8", fields={"title": "pedal"}),
            timestamp=NOW,
            rating=5.0,
            explanation="it is cheap.",
        ),
    ]


def sentence(number: int) -> str:
    """One of many sentences with a feature and an opinion, told apart by their number."""
    noun, opinion = NOUNS[number % len(NOUNS)], OPINIONS[number % len(OPINIONS)]
    return f"The {noun} of my number{number} guitar is really {opinion}, and the {noun} is {opinion}."


@pytest.fixture
def reviews() -> list[Review]:
    """200 reviews by 20 users in time order, a day apart; every fifth is not liked, every tenth says the same."""
    return [
        Review(
            id=f"r{n}",
            user_id=f"u{n % 20}",
            item_id=f"i{n % 30}",
            timestamp=n * DAY,
            text=f"I bought it in May. {sentence(n if n % 10 else 0)} Would buy again!",
            rating=2.0 if n % 5 == 4 else 5.0,
            item={"title": f"guitar {n % 30}", "description": "six strings"},
        )
        for n in range(200)
    ]
