"""What the model sees of one sample: its text by segments, and every token with its place and its role."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from m6rec_core.assemble import Assembled
from m6rec_core.backbone.hf import Backbone
from m6rec_core.tokens.encode import RowEncoder, TokenRow
from m6rec_core.tokens.markers import MARKER_COUNT
from m6rec_core.tokens.tokenizer import TextTokenizer
from m6rec_core.tokens.tree import grow
from m6rec_core.types import Region, Sample, Segment, TextRow


@dataclass(frozen=True, slots=True)
class SegmentView:
    """A segment and what became of it; `tokens` is its length, also where it was `dropped` to fit the budget."""

    number: int
    region: str
    droppable: bool
    cacheable: bool
    scored: bool
    dropped: bool
    tokens: int
    text: str


@dataclass(frozen=True, slots=True)
class TokenView:
    """A token. `kind`: prompt, option, marker or text. `segment`: number of its text segment, None for the others.

    `position`: its rotary position in the row; `offset`: that in its segment (late interaction). `role`: "read out",
    "averaged" (with the read-out), "scored" or "". `answer`: which answer a soft option stands for.
    """

    position: int
    offset: int
    id: int
    piece: str
    kind: str
    region: str
    segment: int | None
    role: str
    answer: str = ""


@dataclass(frozen=True, slots=True)
class RowView:
    """One text row of the sample."""

    segments: tuple[SegmentView, ...]
    tokens: tuple[TokenView, ...]
    markers: bool
    read_out: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """A sample as the model sees it; `sample` as JSON values, `sizes` of what stands around the text."""

    sample: dict[str, Any]
    rows: tuple[RowView, ...]
    sizes: dict[str, Any]


def explain(sample: Sample, assembled: Assembled, backbone: Backbone) -> Explanation:
    """Serialise and encode a sample exactly as tuning and scoring do. Raises DataError when it cannot be encoded."""
    tuned = assembled.tuned
    encoder = RowEncoder(
        backbone.tokenizer, tuned.tuning.prompt_count, tuned.config.max_tokens, tuned.tuning.segment_order
    )
    options = tuned.config.options if tuned.tuning.options() is not None else ()
    rows = tuple(
        _row(text, encoder(text, f"sample {sample.id}"), backbone, options, tuned.tuning.prompt_count)
        for text in tuned.task.serialize_sample(sample, tuned.config).rows
    )
    sizes = {
        "task": tuned.task.name,
        "backbone": backbone.spec.name,
        "attention": backbone.spec.attention,
        "soft_prompts": tuned.tuning.prompt_count,
        "of_these_options": len(options),
        "tokens": [len(row.tokens) for row in rows],
        "max_tokens": tuned.config.max_tokens,
        "dropped_segments": sum(segment.dropped for row in rows for segment in row.segments),
    }
    return Explanation(sample.model_dump(mode="json"), rows, sizes)


def _row(text: TextRow, row: TokenRow, backbone: Backbone, options: Sequence[str], prompts: int) -> RowView:
    segments = _segments(text, row, backbone.tokenizer)
    owners = iter([s.number for s in segments if not s.dropped for _ in range(s.tokens)])
    forest = grow([row], backbone.causal)
    vocabulary = backbone.spec.vocabulary
    tokens = []
    for index, token in enumerate(row.ids):
        place = forest.places[0][index]
        slot = -1 - token
        option = slot - (prompts - len(options)) if token < 0 else -1
        kind = _kind(token, vocabulary, option)
        tokens.append(
            TokenView(
                position=forest.position[place],
                offset=forest.offset[place],
                id=token,
                piece=backbone.tokenizer.piece(token),
                kind=kind,
                region=(Region.BIDIRECTIONAL if index < row.source else Region.AUTOREGRESSIVE).value,
                segment=next(owners) if kind == "text" else None,
                role=_role(index, row),
                answer=options[option] if kind == "option" else "",
            )
        )
    return RowView(segments, tuple(tokens), text.markers, text.readout.value)


def _role(index: int, row: TokenRow) -> str:
    if index == row.readout:
        return "read out"
    if row.readout - row.pooled < index < row.readout:
        return "averaged"
    return "scored" if index in row.scored else ""


def _kind(token: int, vocabulary: int, option: int) -> str:
    if token < 0:
        return "option" if option >= 0 else "prompt"
    if token >= vocabulary:
        return "marker" if token < vocabulary + MARKER_COUNT else "summary"
    return "text"


def _segments(text: TextRow, row: TokenRow, tokenizer: TextTokenizer) -> tuple[SegmentView, ...]:
    """The encoder drops droppable segments from the first on, so their number tells which."""
    left = row.dropped
    views = []
    for number, segment in enumerate(text.segments):
        dropped = segment.droppable and left > 0
        left -= dropped
        views.append(_segment(number, segment, dropped, len(tokenizer.encode(segment.text))))
    return tuple(views)


def _segment(number: int, segment: Segment, dropped: bool, tokens: int) -> SegmentView:
    return SegmentView(
        number=number,
        region=segment.region.value,
        droppable=segment.droppable,
        cacheable=segment.cacheable,
        scored=segment.scored,
        dropped=dropped,
        tokens=tokens,
        text=segment.text,
    )
