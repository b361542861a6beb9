"""`baseline_data` shows a baseline exactly what a sample shows the text model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from m6rec_core.baselines import NO_EVENT, TRIVIAL, UNKNOWN_OUTCOME, baseline_data
from m6rec_core.config import Domain, HistoryRule, LabelRule, SamplingConfig
from m6rec_core.logs.samples import SampleTable, build_samples
from m6rec_core.logs.schema import Logs
from m6rec_core.types import BehaviourSample

RATINGS = SamplingConfig(history=HistoryRule(events=3, stride=2))
EXPOSURES = SamplingConfig(
    target_kinds=("shown",),
    label=LabelRule(at_least=None, positive_kinds=("click",)),
    history=HistoryRule(events=4),
)


def logs(kinds: tuple[str, ...], rows: int = 200, seed: int = 0) -> Logs:
    generator = np.random.default_rng(seed)
    events = pd.DataFrame(
        {
            "user_id": [f"u{x}" for x in generator.integers(0, 6, rows)],
            "item_id": [f"i{x}" for x in generator.integers(0, 5, rows)],
            "timestamp": np.sort(generator.integers(0, 80, rows)).astype(float),
            "kind": [kinds[x] for x in generator.integers(0, len(kinds), rows)],
            "value": generator.integers(1, 6, rows).astype(float),
        },
        index=np.arange(1, rows + 1),
    )
    users = pd.DataFrame({"user_id": [f"u{x}" for x in range(5)], "age": ["30", None, "40", "50", "60"]})
    items = pd.DataFrame({"item_id": [f"i{x}" for x in range(5)], "genre": list("abcde")})
    domain = Domain(name="toys", noun="toy", people="children", item="{genre}", short_item="{genre}")
    return Logs(users=users, items=items, events=events, name="toys", domain=domain, source=Path("toys"))


@pytest.fixture(params=["ratings", "exposures"])
def table(request: pytest.FixtureRequest) -> SampleTable:
    if request.param == "ratings":
        return build_samples(logs(("event",)), RATINGS, BehaviourSample)
    return build_samples(logs(("shown", "click", "search")), EXPOSURES, BehaviourSample)


def test_rows_agree_with_the_samples(table: SampleTable) -> None:
    data = baseline_data(table)
    assert len(table) == data.label.size
    ids = [item.item_id for item in table.timeline.items]
    for row in range(len(table)):
        sample = table.sample(row)
        present = data.history_item[row] != NO_EVENT
        assert [ids[code] for code in data.history_item[row][present]] == [e.item.item_id for e in sample.history]
        expected = [UNKNOWN_OUTCOME if e.liked is None else int(e.liked) for e in sample.history]
        assert data.history_outcome[row][present].tolist() == expected
        assert (data.history_outcome[row][~present] == UNKNOWN_OUTCOME).all()
        assert data.item_fields["genre"][data.item[row]] == sample.candidate.fields["genre"]
        assert data.user_fields["age"][data.user[row]] == sample.user.get("age", "")
        assert data.statistics[row].tolist() == list(sample.statistics.values())


def test_some_rows_are_those_of_all(table: SampleTable) -> None:
    rows = np.array([3, 7, 8, 60])
    every, some = baseline_data(table), baseline_data(table, rows)
    for name in ("label", "statistics", "time", "user", "item", "history_item", "history_outcome"):
        np.testing.assert_array_equal(getattr(some, name), getattr(every, name)[rows])


def test_trivial_baselines_run_on_it(table: SampleTable) -> None:
    data = baseline_data(table)
    splits = table.splits
    for baseline in TRIVIAL.values():
        found = baseline.fit_predict(data, splits["train"], splits["valid"], splits["test"], 0)
        assert found.score.shape == splits["test"].shape
