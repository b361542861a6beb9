"""The taste margin against its definition, and that the future never changes it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from m6rec_core.logs import taste
from m6rec_core.logs.statistics import STATISTICS, count_before, statistics_before

ROWS = st.lists(
    st.tuples(
        st.integers(0, 3), st.integers(0, 4), st.integers(0, 8), st.sampled_from([0.0, 1.0, np.nan]), st.integers(0, 4)
    ),
    min_size=1,
    max_size=40,
)


def columns(rows):
    user, item, time, liked, delay = map(np.array, zip(*rows, strict=True))
    return user, item, time, liked, time + delay


def counted(*arguments):
    """All statistics of all rows."""
    return statistics_before(*arguments).of(np.arange(len(arguments[0])))


def logit(p):
    return np.log(p / (1 - p))


def residuals(rows):
    """Outcome minus expectation, each row's expectation from rows known strictly before it."""
    counts = count_before(*columns(rows))
    found = []
    for n, (_, _, time, liked, _) in enumerate(rows):
        earlier = [row for row in rows if row[2] + row[4] < time and not np.isnan(row[3])]
        prior = (sum(row[3] for row in earlier) + 1.5) / (len(earlier) + 3)
        odds = logit(counts[n, 0]) + 0.7 * (logit(counts[n, 1]) - logit(prior))
        found.append(liked - 1 / (1 + np.exp(-odds)))
    return found


def oracle(rows):
    """The definition, row by row, over users' first known outcomes of each item."""
    residual = residuals(rows)
    result = np.zeros(len(rows))
    for n, (user, item, time, _, _) in enumerate(rows):
        known = [m for m, row in enumerate(rows) if row[2] + row[4] < time and not np.isnan(row[3])]
        known.sort(key=lambda m: rows[m][2] + rows[m][4])
        first = {}
        for m in known:
            first.setdefault((rows[m][0], rows[m][1]), residual[m])
        past = {i: r for (u, i), r in first.items() if u == user}
        total = 0.0
        for other, weight in past.items():
            both = [u for u in range(4) if (u, item) in first and (u, other) in first and item != other]
            product = sum(first[u, item] * first[u, other] for u in both)
            total += weight * product / (len(both) + taste.PAIRS)
        result[n] = total / len(past) ** taste.NORM if past else 0.0
    return result


@settings(deadline=None, max_examples=60)
@given(ROWS)
def test_equals_the_definition(rows):
    found = counted(*columns(rows))
    np.testing.assert_allclose(found[:, 5], oracle(rows), atol=1e-6)
    np.testing.assert_array_equal(found[:, :5], count_before(*columns(rows)))
    assert found.shape[1] == len(STATISTICS)


@settings(deadline=None, max_examples=60)
@given(ROWS, st.integers(0, 8), st.randoms(use_true_random=False))
def test_the_future_never_changes_a_row(rows, moment, random):
    past = [row for row in rows if row[2] < moment]
    future = [row for row in rows if row[2] >= moment]
    changed = [(u, random.randrange(5), t, random.choice([0.0, 1.0]), d) for u, _, t, _, d in future]
    if past:
        before = counted(*columns(past + future))[: len(past)]
        after = counted(*columns(past + changed))[: len(past)]
        np.testing.assert_allclose(after, before, atol=1e-7)


@settings(deadline=None, max_examples=60)
@given(ROWS, st.sampled_from([1, 2, 4_000_000]), st.randoms(use_true_random=False))
def test_rows_that_are_asked_for_equal_all_rows(rows, cells, random):
    every = counted(*columns(rows))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(taste, "CELLS", cells)
        few = statistics_before(*columns(rows))
        asked = np.array([random.randrange(len(rows)) for _ in range(5)])
        np.testing.assert_array_equal(few.of(asked), every[asked])
        np.testing.assert_array_equal(few.of(asked[::-1]), every[asked[::-1]])
        np.testing.assert_array_equal(few.of(np.arange(len(rows))), every)
    assert few.of(np.zeros(0, np.int64)).shape == (0, len(STATISTICS))


@settings(deadline=None, max_examples=60)
@given(ROWS, st.integers(1, 3), st.integers(1, 5))
def test_equals_a_running_count(rows, events, items):
    """The sums kept up from event to event, which is how the margin is thought of."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(taste, "EVENTS", events)
        patch.setattr(taste, "ITEMS", items)
        np.testing.assert_allclose(counted(*columns(rows))[:, 5], running(rows, events, items), atol=1e-8)


def running(rows, events, items):
    """Every row in order of time; outcomes join the sums when known, paired with the user's latest `events`."""
    residual, result = residuals(rows), np.zeros(len(rows))
    told = sorted((m for m, row in enumerate(rows) if not np.isnan(row[3])), key=lambda m: rows[m][2] + rows[m][4])
    places = list(dict.fromkeys(rows[m][1] for m in told))[:items]
    sums, past = {}, {}
    for n in sorted(range(len(rows)), key=lambda n: rows[n][2]):
        user, item, now = rows[n][:3]
        while told and rows[told[0]][2] + rows[told[0]][4] < now:
            m = told.pop(0)
            own = past.setdefault(rows[m][0], [])
            if rows[m][1] not in places or rows[m][1] in [i for i, _ in own]:
                continue
            for other, weight in own[-events:]:
                pair = sums.setdefault(frozenset((rows[m][1], other)), [0.0, 0])
                pair[0] += weight * residual[m]
                pair[1] += 1
            own.append((rows[m][1], residual[m]))
        own = past.get(user, [])[-events:]
        if item in places and own:
            pairs = [(weight, sums.get(frozenset((item, other)), (0.0, 0))) for other, weight in own if other != item]
            result[n] = sum(w * c / (count + taste.PAIRS) for w, (c, count) in pairs) / len(own) ** taste.NORM
    return result


def test_shared_taste_shows(monkeypatch):
    monkeypatch.setattr(taste, "PAIRS", 1.0)
    chance = np.random.default_rng(0)
    user = np.repeat(np.arange(200), 6)
    item = np.tile(np.arange(6), 200)
    kind = chance.integers(0, 2, 200)[user]
    liked = (item % 2 == kind).astype(float)
    found = counted(user, item, np.arange(len(user)), liked)[600:]
    late = item[600:] > 1
    right = (found[:, 5] > 0) == (liked[600:] > 0.5)
    assert right[late].mean() > 0.95


def test_items_beyond_the_tables_have_no_taste(monkeypatch):
    monkeypatch.setattr(taste, "ITEMS", 2)
    found = counted([0, 0, 0, 1, 1, 1, 1], [0, 1, 2, 0, 1, 2, 2], range(7), [1, 0, 1, 1, 0, 1, 1])
    assert found[5, 5] == found[6, 5] == 0.0
    assert found[4, 5] != 0.0
