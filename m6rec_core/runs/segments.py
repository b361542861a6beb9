"""Tuning from the segment cache: every distinct segment of a run is encoded once, for all epochs and evaluations."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from m6rec_core.late.cache import SegmentCache
from m6rec_core.late.counts import CacheCounts
from m6rec_core.late.encoder import SegmentText
from m6rec_core.late.opening import open_cache
from m6rec_core.model import M6Rec
from m6rec_core.runs.progress import counting
from m6rec_core.runs.record import Prepared
from m6rec_core.tokens.batching import Pack


def attach_cache(prepared: Prepared, model: M6Rec, shown: bool, say: Callable[[str], None]) -> SegmentCache | None:
    """Give the model a segment cache with the segments of all parts; None where its lower layers train, or are none.

    Each process encodes the segments for itself, unless `cache.folder` or `cache.redis` has them already.
    """
    tuning, spec = prepared.assembled.tuned.tuning, prepared.backbone.spec
    below = tuning.below(spec.layers)
    trains = prepared.backbone.embedding.requires_grad or bool(tuning.adapter_state(below))
    if not below or trains:
        return None
    cache = open_cache(prepared.config.cache, prepared.backbone, say)
    packs = [pack for part in prepared.parts.values() for pack in part.packs]
    segments = list(dict.fromkeys(segments_of(packs, spec.vocabulary)))
    with counting("encoding segments", len(segments), shown) as tick:
        cache.warm(tuning, below, segments, tick)
    counts = cache.counts()
    say(
        f"segments    {len(segments):,} distinct, {sum(len(s.ids) for s in segments):,} tokens, "
        f"{counts.bytes / 1e6:,.0f} MB in memory"
        + (f"; {counts.evictions:,} did not fit: raise cache.memory_mb" if counts.evictions else "")
    )
    model.segments = cache
    return cache


def segments_of(packs: Iterable[Pack], vocabulary: int) -> Iterator[SegmentText]:
    """The text segments of packs that may come again, as often as they occur."""
    for pack in packs:
        for tree in pack.trees:
            for piece in tree.forest.pieces:
                if piece.recurs and 0 <= piece.ids[0] < vocabulary:
                    yield SegmentText(piece.ids, piece.mutual)


def describe_counts(counts: CacheCounts) -> str:
    """A line for people."""
    faults = f", {counts.faults:,} faults" if counts.faults else ""
    return (
        f"{counts.asked:,} segments asked for, {counts.hit_rate:.1%} found, {counts.segments:,} held "
        f"({counts.bytes_per_segment / 1e3:.1f} kB each), {counts.evictions:,} evictions{faults}"
    )
