import time as clock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from m6rec_core.logs.statistics import COUNTED, count_before

ROWS = st.lists(
    st.tuples(
        st.integers(0, 3), st.integers(0, 3), st.integers(0, 8), st.sampled_from([0.0, 1.0, np.nan]), st.integers(0, 4)
    ),
    min_size=1,
    max_size=60,
)


def oracle(rows):
    """The definition, row by row: (user, item, time, liked, delay)."""
    result = np.zeros((len(rows), 5))
    for n, (user, item, time, _, _) in enumerate(rows):
        earlier = [row for row in rows if row[2] + row[4] < time and not np.isnan(row[3])]
        earlier.sort(key=lambda row: row[2] + row[4])
        prior = (sum(row[3] for row in earlier) + 1.5) / (len(earlier) + 3)
        of_item = [row[3] for row in earlier if row[1] == item]
        of_user = [row[3] for row in earlier if row[0] == user]
        for column, some in enumerate((of_item, of_user, of_user[-10:])):
            result[n, column] = (sum(some) + 3 * prior) / (len(some) + 3)
        result[n, 3:] = len(of_item), len(of_user)
    return result


def columns(rows):
    user, item, time, liked, delay = map(np.array, zip(*rows, strict=True))
    return user, item, time, liked, time + delay


@settings(deadline=None)
@given(ROWS)
def test_equals_the_definition(rows):
    user, item, time, liked, known = columns(rows)
    np.testing.assert_allclose(count_before(user, item, time, liked, known), oracle(rows), atol=1e-12)
    now = [(*row[:4], 0) for row in rows]
    np.testing.assert_allclose(count_before(user, item, time, liked), oracle(now), atol=1e-12)


@settings(deadline=None)
@given(ROWS, st.integers(0, 8), st.randoms(use_true_random=False))
def test_the_future_never_changes_a_row(rows, moment, random):
    past = [row for row in rows if row[2] < moment]
    future = [row for row in rows if row[2] >= moment]
    changed = [(row[0], row[1], row[2] + random.randrange(3), random.choice([0.0, 1.0]), row[4]) for row in future]
    random.shuffle(changed)
    if past:
        before = count_before(*columns(past + future))[: len(past)]
        after = count_before(*columns(past + changed))[: len(past)]
        np.testing.assert_array_equal(before, after)


def test_first_rows_and_ties():
    found = count_before(["u", "u", "u"], ["a", "a", "b"], [1, 1, 2], [1, 0, 1])
    assert len(COUNTED) == found.shape[1] == 5
    np.testing.assert_allclose(found[0], [0.5, 0.5, 0.5, 0, 0])
    np.testing.assert_allclose(found[1], [0.5, 0.5, 0.5, 0, 0])
    np.testing.assert_allclose(found[2], [0.5, 0.5, 0.5, 0, 2])


def test_times_must_be_finite():
    with pytest.raises(ValueError, match="finite"):
        count_before([1, 1], [1, 1], [0, np.nan], [1, 1])


def test_a_million_rows_take_seconds():
    draw = np.random.default_rng(0)
    n = 1_000_000
    start = clock.perf_counter()
    found = count_before(
        draw.integers(0, 6_000, n), draw.integers(0, 3_000, n), draw.integers(0, n, n), draw.integers(0, 2, n)
    )
    assert found.shape == (n, 5)
    assert clock.perf_counter() - start < 60
