"""Which segment embedding each token gets, and what that means for merging rows."""

from __future__ import annotations

import pytest

from m6rec_core.tokens.encode import TokenRow
from m6rec_core.tokens.slots import AGES, MARKER, PLACES, PROMPT, SOURCE, TARGET, slot_count, slots_of
from m6rec_core.tokens.tree import grow, shared_prefix

KINDS = (PROMPT, MARKER, SOURCE, SOURCE, SOURCE, MARKER, TARGET)
SEGMENTS = (0, 1, 2, 2, 3, 4, 5)


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        ("none", ()),
        ("kind", KINDS),
        ("order", (PROMPT, MARKER, SOURCE, SOURCE, SOURCE + 1, MARKER, TARGET)),
        ("recency", (PROMPT, MARKER, SOURCE + 1, SOURCE + 1, SOURCE, MARKER, TARGET)),
    ],
)
def test_slots_say_kind_and_place(order, expected):
    assert slots_of(order, KINDS, SEGMENTS) == expected
    assert all(slot < slot_count(order) for slot in expected)


def test_ages_are_told_apart_by_doublings():
    ages = {2: 59.0, 3: 60.0}
    expected = (PROMPT, MARKER, SOURCE + 1, SOURCE + 1, SOURCE + 2, MARKER, TARGET)
    assert slots_of("age", KINDS, SEGMENTS, ages) == expected
    assert slots_of("age", KINDS, SEGMENTS) == KINDS, "a segment without a time has the slot of its kind"
    minutes = [0, 1, 2, 3, 4, 7, 8, 60, 60 * 24, 60 * 24 * 365, 10**9, -5]
    found = slots_of("age", (SOURCE,) * len(minutes), range(len(minutes)), {n: 60.0 * m for n, m in enumerate(minutes)})
    assert [slot - SOURCE - 1 for slot in found] == [0, 1, 2, 2, 3, 3, 4, 6, 11, 20, AGES - 1, 0]
    assert max(found) == slot_count("age") - 1


def test_far_places_share_the_last_slot():
    segments = tuple(range(PLACES + 5))
    slots = slots_of("order", (SOURCE,) * len(segments), segments)
    assert slots[-6:] == (slot_count("order") - 1,) * 6
    assert len(set(slots)) == PLACES


def row(segments: int, order: str) -> TokenRow:
    numbers = tuple(range(segments))
    slots = slots_of(order, (SOURCE,) * segments, numbers)
    return TokenRow(numbers, numbers, segments, segments - 1, (), 0, slots)


@pytest.mark.parametrize(("order", "shared"), [("none", 3), ("kind", 3), ("order", 3), ("recency", 0)])
def test_rows_share_tokens_only_with_equal_embeddings(order, shared):
    short, long = row(3, order), row(4, order)
    assert shared_prefix(short, long, causal=True) == shared
    forest = grow([short, long], causal=True)
    assert len(forest.ids) == 7 - shared
    assert sum(piece.length for piece in forest.pieces) == len(forest.ids)
