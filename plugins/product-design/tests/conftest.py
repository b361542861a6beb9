from __future__ import annotations

import pytest
from m6rec_plugin_product_design import plugin
from m6rec_plugin_product_design.sample import DesignSample

from m6rec_core.types import Event, Item

DAY = 86_400.0
NOW = 12 * 365 * DAY


def bought(number: int, title: str, category: str = "shoes") -> Event:
    item = Item(item_id=str(number), fields={"title": title, "category": category})
    return Event(item=item, kind="purchase", timestamp=NOW - DAY + number)


@pytest.fixture
def task():
    return plugin


@pytest.fixture
def samples() -> list[DesignSample]:
    """A history, wishes, and a product without a category."""
    return [
        DesignSample(
            id="history",
            user={"age": "24", "gender": "male"},
            history=(bought(1, "boots"), bought(2, "wool socks", "socks")),
            timestamp=NOW,
            category="shoe care",
            title="boot wax",
        ),
        DesignSample(id="wishes", attributes={"colour": "blue"}, category="hats", title="blue hat"),
        DesignSample(id="plain", history=(bought(1, "Zelda", ""),), title="Zelda 2"),
    ]
