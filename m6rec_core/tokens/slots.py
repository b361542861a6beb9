"""Which learnable segment embedding a token gets under late interaction (paper 3.3).

The lower layers encode every segment as if it stood alone, so the upper layers are told what each one is: a soft
prompt, a marker, target text, or a source segment, the latter by its place in the row or by how long ago it was where
the settings ask for it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from m6rec_core.config import SegmentOrder

PROMPT, MARKER, TARGET, SOURCE = range(4)
"""Slots of the kinds; source segments take the slots from SOURCE on."""
PLACES = 64
"""Places of source segments that are told apart; later ones share the last slot."""
AGES = 24
"""Ages that are told apart: below a minute, below two, four and so on, to 8 years and more."""


def slot_count(order: SegmentOrder) -> int:
    """Number of rows S of the table of segment embeddings."""
    if order == "none":
        return 0
    return SOURCE + {"kind": 1, "order": PLACES, "recency": PLACES, "age": 1 + AGES}[order]


def slots_of(
    order: SegmentOrder, kinds: Sequence[int], segments: Sequence[int], ages: Mapping[int, float] | None = None
) -> tuple[int, ...]:
    """Slot of each of T tokens from their `kinds` [T] and segment ordinals [T]; () where there are no embeddings.

    "order" counts the source segments of a row from its beginning, so rows that begin alike still share their
    computation; "recency" counts from the last one, so rows share only where they have as many source segments. "age"
    takes the logarithm of `ages`, seconds by segment ordinal: rows share where as much time has passed, to a doubling.
    """
    if order == "none":
        return ()
    if order == "kind":
        return tuple(kinds)
    if order == "age":
        known = {} if ages is None else {s: 1 + _bucket(age) for s, age in ages.items()}
        return tuple(
            SOURCE + known.get(s, 0) if kind == SOURCE else kind for s, kind in zip(segments, kinds, strict=True)
        )
    found = list(dict.fromkeys(s for s, kind in zip(segments, kinds, strict=True) if kind == SOURCE))
    place = {s: (i if order == "order" else len(found) - 1 - i) for i, s in enumerate(found)}
    return tuple(
        SOURCE + min(place[s], PLACES - 1) if kind == SOURCE else kind for s, kind in zip(segments, kinds, strict=True)
    )


def _bucket(age: float) -> int:
    """0 below a minute, then one more for each doubling of the minutes, at most AGES - 1."""
    minutes = max(age, 0.0) / 60.0
    return min(math.frexp(minutes)[1], AGES - 1) if minutes >= 1.0 else 0
