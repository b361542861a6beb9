from __future__ import annotations

import pytest
from m6rec_plugin_conversation import plugin
from m6rec_plugin_conversation.sample import DialogueSample, Turn

from m6rec_core.types import Item

HEAT = Item(item_id="1", fields={"title": "Heat (1995)", "genres": "crime"})
ALIEN = Item(item_id="2", fields={"title": "Alien (1979)"})


@pytest.fixture
def task():
    return plugin


@pytest.fixture
def samples() -> list[DialogueSample]:
    """A greeting, a reply that recommends a film, and one that recommends two."""
    hi = Turn(speaker="seeker", text="hi")
    liked = Turn(speaker="seeker", text="I liked Heat (1995)", items=(HEAT,))
    return [
        DialogueSample(id="a.1", dialogue="a", turns=(hi,), reply="hello"),
        DialogueSample(
            id="b.1",
            dialogue="b",
            user_facts=("The seeker is tired.",),
            turns=(hi, Turn(speaker="recommender", text="what do you like?"), liked),
            reply="see Thief (1981)",
            recommended=("Thief (1981)",),
        ),
        DialogueSample(
            id="c.1",
            turns=(Turn(speaker="seeker", text="scare me"),),
            reply="Alien (1979) or Jaws (1975)",
            recommended=("Alien (1979)", "Jaws (1975)"),
        ),
    ]
