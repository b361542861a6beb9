"""Which learnable segment embedding a token gets under late interaction (paper 3.3).

The lower layers encode every segment as if it stood alone, so the upper layers are told what each one is: a soft
prompt, a marker, target text, or a source segment, the latter by its place in the row where the settings ask for it.
"""

from __future__ import annotations

from collections.abc import Sequence

from m6rec_core.config import SegmentOrder

PROMPT, MARKER, TARGET, SOURCE = range(4)
"""Slots of the kinds; source segments take the slots from SOURCE on."""
PLACES = 64
"""Places of source segments that are told apart; later ones share the last slot."""


def slot_count(order: SegmentOrder) -> int:
    """Number of rows S of the table of segment embeddings."""
    if order == "none":
        return 0
    return SOURCE + (1 if order == "kind" else PLACES)


def slots_of(order: SegmentOrder, kinds: Sequence[int], segments: Sequence[int]) -> tuple[int, ...]:
    """Slot of each of T tokens from their `kinds` [T] and segment ordinals [T]; () where there are no embeddings.

    "order" counts the source segments of a row from its beginning, so rows that begin alike still share their
    computation; "recency" counts from the last one, so rows share only where they have as many source segments.
    """
    if order == "none":
        return ()
    if order == "kind":
        return tuple(kinds)
    found = list(dict.fromkeys(s for s, kind in zip(segments, kinds, strict=True) if kind == SOURCE))
    place = {s: (i if order == "order" else len(found) - 1 - i) for i, s in enumerate(found)}
    return tuple(
        SOURCE + min(place[s], PLACES - 1) if kind == SOURCE else kind for s, kind in zip(segments, kinds, strict=True)
    )
