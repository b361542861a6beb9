from __future__ import annotations

import pytest
from m6rec_plugin_query_generation import plugin
from m6rec_plugin_query_generation.sample import QuerySample

from m6rec_core.types import Event, Item

DAY = 86_400.0
NOW = 12 * 365 * DAY


def looked_at(number: int, title: str) -> Event:
    item = Item(item_id=str(number), fields={"title": title, "category": "shoes"})
    return Event(item=item, kind="view", timestamp=NOW - DAY + number)


@pytest.fixture
def task():
    return plugin


@pytest.fixture
def samples() -> list[QuerySample]:
    """A need, a history, both, and one that nobody has answered yet is made of these by the tests."""
    return [
        QuerySample(id="need", need="I want shoes that keep my feet dry", query="waterproof shoes"),
        QuerySample(
            id="history",
            user={"age": "24", "gender": "male"},
            history=(looked_at(1, "boots"), looked_at(2, "wool socks")),
            timestamp=NOW,
            query="boot wax",
        ),
        QuerySample(
            id="both", need="for a child", history=(looked_at(1, "boots"),), timestamp=NOW, query="children boots"
        ),
    ]
