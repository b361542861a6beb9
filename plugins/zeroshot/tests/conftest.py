"""Samples of made-up users, and logs in which likes, dislikes and times are known."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from m6rec_plugin_zeroshot import plugin
from m6rec_plugin_zeroshot.sample import ChoiceSample

from m6rec_core.logs.schema import Logs
from m6rec_core.text.domains import MOVIES

TITLES = ("Toy Story", "Babe", "Heat", "Antz", "Shrek", "The Rock", "Speed", "Alien")


@pytest.fixture
def task():
    return plugin


@pytest.fixture
def samples() -> list[ChoiceSample]:
    """Contexts of titles and of text, two to four choices, one or two of them right."""
    return [
        ChoiceSample(id="a", context=TITLES[:3], choices=TITLES[3:6], label=0),
        ChoiceSample(id="b", context=TITLES[:2], choices=TITLES[4:8], label=(1, 3)),
        ChoiceSample(id="c", context="Which film has a shark?", choices=("Jaws", "Heat"), label=1),
        ChoiceSample(id="d", context=(), choices=TITLES[:2], label=0),
    ]


def build_logs(events: list[tuple[str, str, float, float | None]], items: dict[str, str | None]) -> Logs:
    """Events (user, item, time, value) and item titles as logs, events sorted by time."""
    rows = sorted(events, key=lambda event: event[2])
    return Logs(
        users=pd.DataFrame({"user_id": sorted({event[0] for event in rows})}),
        items=pd.DataFrame({"item_id": list(items), "title": list(items.values())}),
        events=pd.DataFrame(
            {
                "user_id": [event[0] for event in rows],
                "item_id": [event[1] for event in rows],
                "timestamp": [float(event[2]) for event in rows],
                "kind": "rating",
                "value": [float("nan") if event[3] is None else float(event[3]) for event in rows],
            }
        ),
        name="films",
        domain=MOVIES,
        source=Path("films"),
    )


@pytest.fixture
def make_logs():
    return build_logs


@pytest.fixture
def logs() -> Logs:
    """40 users who each liked 24 of 60 films and disliked 8; every film has a title with a year in brackets."""
    events = []
    for user in range(40):
        for step in range(32):
            film = (user * 11 + step * 7) % 60
            events.append((f"u{user}", f"i{film}", 1000 * user + step, 1.0 if step % 4 == 0 else 5.0))
    return build_logs(events, {f"i{film}": f"Film number {film} ({1950 + film})" for film in range(60)})
