"""Leaving one out: the last event tests, the one before validates; ties keep the file's order."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from m6rec_core.errors import ConfigError, DataError
from m6rec_core.logs import leave_one_out, unseen_items
from m6rec_core.logs.schema import Logs
from m6rec_core.text.domains import MOVIES


def _logs(events: list[tuple[str, str, float]], items: int = 6) -> Logs:
    """Logs as the reader makes them: events sorted by (time, file order)."""
    frame = pd.DataFrame(events, columns=["user_id", "item_id", "timestamp"])
    frame = frame.iloc[np.argsort(frame["timestamp"].to_numpy(), kind="stable")]
    frame = frame.assign(kind="event", value=1.0)
    return Logs(
        users=pd.DataFrame({"user_id": []}),
        items=pd.DataFrame({"item_id": [f"i{code}" for code in range(items)]}),
        events=frame,
        name="toy",
        domain=MOVIES,
        source=Path("toy"),
    )


def test_last_event_tests_and_the_one_before_validates() -> None:
    events = [("a", "i0", 3.0), ("b", "i1", 1.0), ("a", "i2", 1.0), ("a", "i3", 2.0), ("b", "i4", 5.0)]
    split = leave_one_out(_logs([*events, ("a", "i5", 9.0)]))
    assert split.user_ids == ("b", "a")
    valid, test = split.rows("valid"), split.rows("test")
    assert [split.user_ids[code] for code in test.user] == ["a"]
    assert split.item[valid.event].tolist() == [0]
    assert split.item[test.event].tolist() == [5]
    assert split.item_codes(valid.history) == ((2, 3),)
    assert split.item_codes(test.history) == ((2, 3, 0),)
    assert [one.tolist() for one in split.train_items()] == [[1, 4], [2, 3]]


def test_equal_times_keep_the_order_of_the_file() -> None:
    split = leave_one_out(_logs([("a", "i3", 7.0), ("a", "i1", 7.0), ("a", "i2", 7.0), ("a", "i0", 1.0)]))
    assert split.item_codes(split.rows("test").history) == ((0, 3, 1),)
    assert split.item[split.rows("test").event].tolist() == [2]


def test_unkept_events_do_not_count() -> None:
    logs = _logs([("a", "i0", 1.0), ("a", "i1", 2.0), ("a", "i2", 3.0), ("a", "i3", 4.0)])
    split = leave_one_out(logs, keep=np.array([True, True, True, False]))
    assert split.item[split.rows("test").event].tolist() == [2]
    with pytest.raises(DataError, match="no user has 3 events"):
        leave_one_out(logs, keep=np.array([True, True, False, False]))
    with pytest.raises(DataError, match="4 rows"):
        leave_one_out(logs, keep=np.array([True]))


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 5), st.integers(0, 3)), min_size=3, max_size=40))
def test_every_event_lands_in_one_part_in_time_order(drawn: list[tuple[int, int, int]]) -> None:
    logs = _logs([("u9", "i0", 0.0)] * 3 + [(f"u{u}", f"i{i}", float(t)) for u, i, t in drawn])
    split = leave_one_out(logs)
    valid, test = split.rows("valid"), split.rows("test")
    everything = np.concatenate([*split.train_events(), valid.event, test.event])
    assert sorted(everything.tolist()) == list(range(len(logs.events)))
    users, times = logs.events["user_id"].to_numpy(), logs.events["timestamp"].to_numpy()
    for row, code in enumerate(test.user):
        line = np.r_[test.history[row], test.event[row]]
        assert set(users[line]) == {split.user_ids[code]}
        assert (np.diff(times[line]) >= 0).all()
        assert (np.diff(line) > 0).all()
        assert test.history[row].tolist() == [*valid.history[row].tolist(), valid.event[row]]


def test_unseen_items_leave_the_training_part_only() -> None:
    split = leave_one_out(_logs([("a", f"i{code}", float(code)) for code in range(6)], items=8))
    mask = unseen_items(split, 0.5, seed=1)
    assert mask.sum() == 3
    assert not mask[6:].any()
    assert (mask == unseen_items(split, 0.5, seed=1)).all()
    assert not mask[np.concatenate(split.train_items(mask))].any()
    assert split.rows("test").event.size == 1
    with pytest.raises(ConfigError, match="unseen share 1"):
        unseen_items(split, 1.0, seed=0)
    with pytest.raises(ConfigError, match="valid, test"):
        split.rows("train")  # type: ignore[arg-type]
