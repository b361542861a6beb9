from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from m6rec_core.config import HistoryRule, LabelRule, SamplingConfig, SplitRule
from m6rec_core.errors import ConfigError, DataError, RegistryError
from m6rec_core.logs import Logs, build_samples, check_label_hidden, check_leakage, rechorus_days, time_split
from m6rec_core.logs.statistics import COUNTED, STATISTICS
from m6rec_core.text.domains import MOVIES
from m6rec_core.types import BehaviourSample

TENTHS = SplitRule(train=0.6, valid=0.2)


class Labelled(BehaviourSample):
    label: bool | None = None


def logs_of(rows):
    """Rows of (user, item, time, kind, value) as Logs."""
    events = pd.DataFrame(rows, columns=["user_id", "item_id", "timestamp", "kind", "value"])
    events["timestamp"] = events["timestamp"].astype(float)
    events["value"] = events["value"].astype(float)
    events.index = pd.RangeIndex(1, len(events) + 1)
    events = events.sort_values("timestamp", kind="stable")
    items = pd.DataFrame({"item_id": sorted(set(events["item_id"])), "title": None, "genre": "x"})
    users = pd.DataFrame({"user_id": ["u0"], "gender": ["male"]})
    return Logs(users, items, events, "test", MOVIES, Path("test"))


def ratings(count, seed=0, moments=40):
    draw = np.random.default_rng(seed)
    return [
        (
            f"u{draw.integers(4)}",
            f"i{draw.integers(9)}",
            int(draw.integers(moments)),
            "rating",
            int(draw.integers(1, 6)),
        )
        for _ in range(count)
    ]


def test_a_sample_holds_user_history_candidate_and_statistics():
    cells = [("u0", "a", 1, 5), ("u0", "b", 2, 2), ("u0", "c", 3, 4), ("u1", "a", 4, 3), ("u0", "a", 9, 1)]
    rows = [(user, item, time, "rating", stars) for user, item, time, stars in cells]
    table = build_samples(logs_of(rows), SamplingConfig(split=TENTHS), Labelled)
    sample = table.sample(4)
    assert sample.id == "u0:a:5"
    assert sample.label is False
    assert sample.user == {"gender": "male"}
    assert table.sample(3).user == {}
    assert sample.candidate.fields == {"genre": "x"}
    assert [event.item.item_id for event in sample.history] == ["a", "b", "c"]
    assert [event.liked for event in sample.history] == [True, False, True]
    assert tuple(sample.statistics) == STATISTICS
    assert sample.statistics["item_count"] == 2
    assert sample.history[2].statistics["user_count"] == 2
    assert tuple(sample.history[2].statistics) == COUNTED
    assert sample == Labelled.model_validate_json(sample.model_dump_json())
    assert table.sample(2).history[0] is sample.history[0]
    assert len(table) == 5


@settings(deadline=None, max_examples=40)
@given(st.integers(5, 80), st.integers(0, 99), st.integers(0, 4), st.integers(1, 5), st.integers(2, 60))
def test_histories_are_strictly_earlier_and_anchored(count, seed, events, stride, moments):
    logs = logs_of([*ratings(count, seed, moments), ("u0", "i0", 100, "rating", 5), ("u0", "i0", 200, "rating", 5)])
    rule = HistoryRule(events=events, stride=stride)
    split = SplitRule(train=0.01, valid=0.01)
    try:
        table = build_samples(logs, SamplingConfig(history=rule, split=split), Labelled)
    except DataError:  # too few different times for three parts
        return
    check_leakage(table)
    frame = logs.events.reset_index()
    for n in range(len(table)):
        sample = table.sample(n)
        mine = frame[(frame.user_id == sample.user_id) & (frame.timestamp < sample.timestamp)]
        anchor = max(0, (len(mine) // stride) * stride - events)
        assert [event.item.item_id for event in sample.history] == mine["item_id"].tolist()[anchor:]
        assert len(sample.history) >= min(events, len(mine))
        assert len(sample.history) <= events + stride - 1
    starts = {}
    for n in range(len(table)):
        sample = table.sample(n)
        if sample.history:
            first = (sample.user_id, sample.history[0].timestamp, sample.history[0].item.item_id)
            starts.setdefault(int(table.group[n]), set()).add(first)
    assert all(len(found) == 1 for found in starts.values())


def test_choose_takes_whole_groups_of_exact_count():
    sampling = SamplingConfig(history=HistoryRule(events=2, stride=4))
    table = build_samples(logs_of(ratings(400, moments=10_000)), sampling, Labelled)
    train = table.splits["train"]
    for rows in (1, 7, 50, 200):
        chosen = table.choose("train", rows, seed=3)
        assert len(chosen) == rows
        assert (np.diff(chosen) > 0).all()
        assert np.isin(chosen, train).all()
        cut = [g for g in np.unique(table.group[chosen])
               if (table.group[chosen] == g).sum() < (table.group[train] == g).sum()]  # fmt: skip
        assert len(cut) <= 1
        np.testing.assert_array_equal(chosen, table.choose("train", rows, seed=3))
        assert np.isin(chosen, table.choose("train", rows + 20, seed=3)).all()
    np.testing.assert_array_equal(table.choose("train", None, 0), train)
    assert not np.array_equal(table.choose("train", 50, 0), table.choose("train", 50, 1))
    with pytest.raises(ConfigError, match="no split 'dev'"):
        table.choose("dev", 1, 0)


def test_cold_rows():
    table = build_samples(logs_of(ratings(200, moments=10_000)), SamplingConfig(), Labelled)
    index = table.splits["train"]
    counts = table.statistics(index)[:, 3:5]
    expected = (counts < 5).any(axis=1)
    np.testing.assert_array_equal(table.cold(index, 5), expected)
    assert table.cold(index, 0).sum() == 0


SHOP = [
    ("u", "a", 1, "click", None), ("u", "b", 2, "click", None), ("u", "x", 3, "search", None),
    ("u", "c", 4, "click", None),
    ("u", "a", 5, "purchase", None), ("u", "a", 6, "click", None), ("u", "d", 7, "click", None),
]  # fmt: skip
CVR = SamplingConfig(target_kinds=("click",), label=LabelRule(positive_kinds=("purchase",)), split=TENTHS)


def test_a_click_answered_by_a_purchase_is_positive_only_once_it_is_known():
    table = build_samples(logs_of(SHOP), CVR, Labelled)
    assert table.label.tolist() == [1, 0, 0, 0, 0]
    third, last = table.sample(2), table.sample(4)
    assert [(event.kind, event.liked) for event in third.history] == [
        ("click", False), ("click", False), ("search", None),
    ]  # fmt: skip
    assert [(event.kind, event.liked) for event in last.history] == [
        ("click", True), ("click", False), ("search", None), ("click", False), ("purchase", True), ("click", False),
    ]  # fmt: skip
    assert third.statistics["user_count"] == 1
    assert last.statistics["user_count"] == 4
    assert table.sample(3).statistics["item_rate"] > third.statistics["item_rate"]


def test_rows_that_say_their_own_outcome():
    sampling = CVR.model_copy(update={"target_kinds": ("click", "purchase")})
    table = build_samples(logs_of(SHOP), sampling, Labelled)
    assert table.label.tolist() == [0, 0, 0, 1, 0, 0]


def test_targets_without_a_label_and_unknown_kinds():
    with pytest.raises(DataError, match=r"events, row 1, field 'value': an event of kind 'click' has no value"):
        build_samples(logs_of(SHOP), SamplingConfig(), Labelled)
    with pytest.raises(ConfigError, match="no event is of kind 'buy'"):
        build_samples(logs_of(SHOP), SamplingConfig(label=LabelRule(positive_kinds=("buy",))), Labelled)


def test_sample_types_that_logs_cannot_fill():
    class Odd(BehaviourSample):
        label: bool | None = None
        mood: str

    class Words(BehaviourSample):
        label: int

    logs = logs_of(ratings(50, moments=1000))
    with pytest.raises(ConfigError, match="cannot fill the sample type Odd: mood"):
        build_samples(logs, SamplingConfig(), Odd)
    assert type(build_samples(logs, SamplingConfig(), Words).sample(0).label) is int
    assert build_samples(logs, SamplingConfig(), BehaviourSample).sample(0).id


def test_planted_leaks_are_found():
    table = build_samples(logs_of(ratings(100, moments=1000)), SamplingConfig(), Labelled)
    check_leakage(table)
    table.stop[60] += 1  # the target itself becomes its own history
    with pytest.raises(DataError, match="not earlier than the sample"):
        check_leakage(table)
    table.stop[60] -= 1
    table.splits["train"] = table.splits["test"]
    with pytest.raises(DataError, match="not earlier than the first test row"):
        check_leakage(table)


def test_a_text_that_changes_with_the_label_is_found():
    sample = build_samples(logs_of(ratings(50, moments=1000)), SamplingConfig(), Labelled).sample(3)
    check_label_hidden(lambda one: one.id, sample)
    with pytest.raises(RegistryError, match="text changes with 'label'"):
        check_label_hidden(lambda one: f"{one.id} {one.label}", sample)


@given(st.lists(st.integers(0, 20), min_size=1, max_size=60), st.floats(0.1, 0.8), st.floats(0.05, 0.15))
def test_time_split_is_a_partition_that_ties_do_not_straddle(times, train, valid):
    time = np.array(times, dtype=float)
    try:
        parts = time_split(time, SplitRule(train=train, valid=valid))
    except DataError:
        return
    np.testing.assert_array_equal(np.sort(np.concatenate(list(parts.values()))), np.arange(len(time)))
    assert time[parts["train"]].max() < time[parts["valid"]].min()
    assert time[parts["valid"]].max() < time[parts["test"]].min()
    assert len(parts["train"]) <= len(time) * train + 1e-6


def test_time_split_of_different_times_is_exact():
    parts = time_split(np.arange(1000.0)[::-1], SplitRule())
    assert {name: len(rows) for name, rows in parts.items()} == {"train": 800, "valid": 100, "test": 100}
    assert parts["test"].max() == 99


def test_an_empty_part_is_an_error():
    with pytest.raises(DataError, match="valid part of the split would be empty"):
        time_split([1.0, 2.0], SplitRule())


def test_rechorus_days_drops_rare_users_and_counts_days():
    day = 86_400.0
    rows = [(n * day, n % 2, 0, 1.0) for n in range(21)] + [(3 * day, 2, 0, 1.0), (19 * day, 2, 0, 1.0)]
    time, user, item, label = map(np.array, zip(*rows, strict=True))
    parts = rechorus_days(time, user, item, label)
    assert parts["train"].tolist() == list(range(17))
    assert parts["valid"].tolist() == [17, 18]
    assert parts["test"].tolist() == [19, 20]


def test_one_by_one_equals_at_once_and_asks_for_what_it_needs():
    logs = logs_of(ratings(300, moments=10_000))
    whole, single = (build_samples(logs, SamplingConfig(), Labelled) for _ in range(2))
    rows = whole.splits["test"]
    assert single.samples(rows[:5]) == whole.samples(rows)[:5]
    known = single.timeline.statistics.taste.kept[single.event]
    assert np.isnan(known).sum() >= len(single) - 6
    assert [single.sample(int(row)) for row in rows] == whole.samples(rows)
    assert [single.sample_id(int(row)) for row in rows] == [sample.id for sample in whole.samples(rows)]
    margins = [sample.statistics["taste_margin"] for sample in whole.samples(rows)]
    np.testing.assert_array_equal(whole.statistics(rows)[:, 5], margins)
