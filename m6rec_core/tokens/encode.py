"""A text row becomes a token row: soft prompt slots, markers and segments, cut to the budget by whole segments."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from m6rec_core.config import SegmentOrder
from m6rec_core.errors import DataError
from m6rec_core.tokens.markers import SUMMARY, Marker
from m6rec_core.tokens.slots import MARKER, PROMPT, SOURCE, TARGET, slots_of
from m6rec_core.tokens.tokenizer import TextTokenizer
from m6rec_core.types import Pooling, Readout, Region, Segment, TextRow

_SEGMENT_BITS = 12
_SLOT_BITS = 7
MAX_SEGMENTS = 1 << _SEGMENT_BITS
_Kept = tuple[Segment, tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class TokenRow:
    """One row of T tokens.

    `ids` [T]: text in [0, V), markers from V on, soft prompt slot p as -1 - p. `segments` [T]: ordinal of each
    token's segment; the soft prompts are segment 0 (paper Fig. 4), every marker is its own, so that the states of text
    never depend on what a task trains. `source`: number of leading tokens in the bidirectional region, prompts
    included. `readout`: index of the token a head reads. `scored`: indices of answer tokens. `dropped`: number of
    segments left out for length. `slots` [T]: each token's segment embedding, () for none. `passing`: ordinals of
    segments whose text does not recur. `summaries`: ordinals of segments that sum up the one before them
    (`tuning.segment_summaries`). `pooled`: number of tokens up to the read-out, itself included, whose mean state a
    head gets; 1 is the read-out alone.
    """

    ids: tuple[int, ...]
    segments: tuple[int, ...]
    source: int
    readout: int
    scored: tuple[int, ...]
    dropped: int
    slots: tuple[int, ...] = ()
    passing: tuple[int, ...] = ()
    summaries: tuple[int, ...] = ()
    pooled: int = 1

    @property
    def keys(self) -> tuple[int, ...]:
        """One integer per token; rows share computation as far as these agree."""
        own = self.slots or (0,) * len(self.ids)
        return tuple(
            (((i << _SLOT_BITS) | k) << _SEGMENT_BITS) | s for i, k, s in zip(self.ids, own, self.segments, strict=True)
        )


@dataclass(frozen=True, slots=True)
class RowEncoder:
    """Encodes the rows of one task: P soft prompts first, then the text, at most `max_tokens` tokens in all.

    `order`: which segment embeddings the tokens get. `summaries`: tokens after each source segment that recurs.
    """

    tokenizer: TextTokenizer
    prompts: int
    max_tokens: int
    order: SegmentOrder = "none"
    summaries: int = 0

    def __call__(self, row: TextRow, name: str = "row") -> TokenRow:
        """Encode a row. Drops `droppable` segments in order (oldest history first) until the row fits.

        Raises DataError when the rest is still too long, holds no token, or has a source segment after the target.
        """
        pieces = [self.tokenizer.encode(s.text) for s in row.segments]
        fixed = self.prompts + (4 if row.markers else 0)
        lengths = [len(ids) + self.summaries_after(s, ids) for s, ids in zip(row.segments, pieces, strict=True)]
        excess = fixed + sum(lengths) - self.max_tokens
        kept: list[_Kept] = []
        dropped = 0
        for segment, ids, length in zip(row.segments, pieces, lengths, strict=True):
            if excess > 0 and segment.droppable:
                excess -= length
                dropped += 1
            else:
                kept.append((segment, ids))
        if excess > 0:
            segment, ids = max(kept, key=lambda one: len(one[1]))
            raise DataError(
                f"{name}: {self.max_tokens + excess} tokens remain after dropping all history, the limit is "
                f"{self.max_tokens}; the longest text has {len(ids)}, it begins {segment.text[:40]!r}: shorten it or "
                "raise settings.max_tokens"
            )
        most = MAX_SEGMENTS - 5 if not self.summaries else (MAX_SEGMENTS - 5) // 2
        if len(kept) > most:
            raise DataError(f"{name}: {len(kept)} segments, at most {most} are allowed; shorten the history")
        return _assemble(self, row, kept, dropped, name)

    def summaries_after(self, segment: Segment, ids: tuple[int, ...]) -> int:
        """How many summary tokens follow a segment."""
        own = segment.region is Region.BIDIRECTIONAL and segment.cacheable and len(ids) > 0
        return self.summaries if own else 0


def _regions(kept: list[_Kept], name: str) -> tuple[list[_Kept], list[_Kept]]:
    """The segments of the source and of the target; DataError where they are not in this order."""
    source = [k for k in kept if k[0].region is Region.BIDIRECTIONAL]
    target = [k for k in kept if k[0].region is Region.AUTOREGRESSIVE]
    if [*source, *target] != kept:
        raise DataError(f"{name}: a bidirectional segment follows an autoregressive one; order the source text first")
    return source, target


def _assemble(encoder: RowEncoder, row: TextRow, kept: list[_Kept], dropped: int, name: str) -> TokenRow:
    ids: list[int] = []
    segments: list[int] = []
    kinds: list[int] = []
    scored: list[int] = []
    passing: list[int] = []
    owners: list[int] = []
    summaries: list[int] = []
    ages: dict[int, float] = {}
    ordinal = -1

    def add(
        tokens: tuple[int, ...], kind: int, answer: bool = False, recurs: bool = True, summary: bool = False
    ) -> None:
        nonlocal ordinal
        ordinal += 1
        if summary:
            summaries.append(ordinal)
        owners.extend([ordinal - summary] * len(tokens))  # a summary has the place of what it sums up
        if answer:
            scored.extend(range(len(ids), len(ids) + len(tokens)))
        if not recurs:
            passing.append(ordinal)
        ids.extend(tokens)
        segments.extend([ordinal] * len(tokens))
        kinds.extend([kind] * len(tokens))

    marker: Callable[[Marker], int] = encoder.tokenizer.marker
    add(tuple(-1 - p for p in range(encoder.prompts)), PROMPT)
    source, target = _regions(kept, name)
    if row.markers:
        add((marker(Marker.SOURCE_START),), MARKER)
    source_readout = len(ids) - 1
    for segment, tokens in source:
        add(tokens, SOURCE, segment.scored, segment.cacheable)
        if segment.age is not None:
            ages[ordinal] = segment.age
        source_readout = len(ids) - 1
        if count := encoder.summaries_after(segment, tokens):
            add(tuple(encoder.tokenizer.vocabulary + SUMMARY + j for j in range(count)), SOURCE, summary=True)
    if row.markers:
        add((marker(Marker.SOURCE_END),), MARKER)
        source_readout = len(ids) - 1
    source_length = len(ids)
    if row.markers:
        add((marker(Marker.TARGET_START),), MARKER)
    for segment, tokens in target:
        add(tokens, TARGET, segment.scored, segment.cacheable)
    if row.markers:
        add((marker(Marker.TARGET_END),), MARKER, row.scored_end)
    if len(ids) == encoder.prompts:
        raise DataError(f"{name}: the text has no token; give the sample some text")
    if row.readout is Readout.SOURCE and source_readout < encoder.prompts:
        raise DataError(f"{name}: the source region, which the head reads, has no token; give the sample some text")
    readout = source_readout if row.readout is Readout.SOURCE else len(ids) - 1
    begins = encoder.prompts if readout < source_length else source_length
    slots = slots_of(encoder.order, kinds, owners, ages)
    return TokenRow(
        tuple(ids), tuple(segments), source_length, readout, tuple(scored), dropped, slots, tuple(passing),
        tuple(summaries), readout + 1 - begins if row.pooling is Pooling.MEAN else 1,
    )  # fmt: skip
