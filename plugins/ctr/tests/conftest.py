from __future__ import annotations

import pytest
from m6rec_plugin_ctr import plugin
from m6rec_plugin_ctr.sample import CtrSample

from m6rec_core.types import Event, Item

DAY = 86_400.0
NOW = 12 * 365 * DAY  # late in December 1981
STATISTICS = ("item_rate", "user_rate", "recent_rate", "item_count", "user_count")


def statistics(*values: float) -> dict[str, float]:
    return dict(zip(STATISTICS, values, strict=True))


def film(number: int, title: str, year: str = "1995", genres: str = "Drama") -> Item:
    return Item(item_id=str(number), fields={"title": title, "year": year, "genres": genres})


@pytest.fixture
def task():
    return plugin


@pytest.fixture
def sample() -> CtrSample:
    history = (
        Event(item=film(1, "Toy Story"), kind="rating", timestamp=NOW - 2 * DAY, liked=True,
              statistics=statistics(0.7, 0.5, 0.5, 90, 0)),
        Event(item=film(2, "GoldenEye"), kind="rating", timestamp=NOW - 3_600, liked=False,
              statistics=statistics(0.5, 0.6, 0.6, 40, 1)),
    )  # fmt: skip
    return CtrSample(
        id="7-3",
        user_id="7",
        user={"age": "24", "gender": "male", "occupation": "technician"},
        history=history,
        candidate=film(3, "Titanic", "1997", "Romance"),
        timestamp=NOW,
        statistics=statistics(0.9, 0.5, 0.4, 12, 2),
        label=True,
    )


@pytest.fixture
def samples(sample: CtrSample) -> list[CtrSample]:
    """Four samples of one user: their histories grow, so that they share text; the labels alternate."""
    found = []
    for number in range(4):
        history = tuple(
            Event(item=film(n, f"Film {n}"), kind="rating", timestamp=NOW - 9 * DAY + n, liked=n % 2 == 0,
                  statistics=statistics(0.2 * n + 0.1, 0.5, 0.5, n, n))
            for n in range(number)
        )  # fmt: skip
        found.append(
            sample.model_copy(
                update={
                    "id": f"7-{number}",
                    "history": history,
                    "candidate": film(number, f"Film {number}"),
                    "statistics": statistics(0.2 * number + 0.1, 0.4, 0.6, number, number),
                    "label": number % 2 == 0,
                }
            )
        )
    return found
