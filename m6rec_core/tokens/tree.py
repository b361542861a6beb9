"""Rows that begin alike are merged into a prefix forest, so that what they share is computed once.

In a causal backbone the hidden state of a token depends on the tokens before it only, so two rows with the same first
k tokens have the same first k hidden states: merging them is exact. With a bidirectional source region the unit of
sharing is the whole source, since each of its tokens sees all others.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from m6rec_core.tokens.encode import TokenRow


@dataclass(frozen=True, slots=True)
class Piece:
    """`length` tokens of a segment from its token `offset` on, which lie at `place` .. in a forest (or batch).

    `ids`: the whole segment's token ids, which alone determine its states in the lower layers of late interaction.
    `mutual`: its tokens see each other both ways (source text of a bidirectional backbone). `recurs`: whether the text
    may come again in other rows.
    """

    place: int
    offset: int
    length: int
    ids: tuple[int, ...]
    mutual: bool
    recurs: bool


@dataclass(frozen=True, slots=True)
class Forest:
    """M merged tokens in pre-order, and where each row's tokens went.

    `ids`, `end`, `block`, `segment`, `position`, `offset`, `slot` [M]: see `Layout` and `TokenRow`. `places`: per row
    (in the order given) the forest index of each of its tokens. `pieces`: the segments the tokens came from, in order.
    `summaries`: each summary's index, and those of the tokens that it sums up.
    """

    ids: tuple[int, ...]
    end: tuple[int, ...]
    block: tuple[int, ...]
    segment: tuple[int, ...]
    position: tuple[int, ...]
    offset: tuple[int, ...]
    slot: tuple[int, ...]
    places: tuple[tuple[int, ...], ...]
    pieces: tuple[Piece, ...]
    summaries: tuple[tuple[int, tuple[int, ...]], ...] = ()


def shared_prefix(left: TokenRow, right: TokenRow, causal: bool) -> int:
    """Number of leading tokens that two rows may share exactly."""
    length = 0
    limit = min(len(left.ids), len(right.ids))
    a, b, sa, sb = left.ids, right.ids, left.segments, right.segments
    while length < limit and a[length] == b[length] and sa[length] == sb[length]:
        length += 1
    if left.slots[:length] != right.slots[:length]:
        length = next(i for i in range(length) if left.slots[i] != right.slots[i])
    if not causal and (left.source != right.source or length < left.source):
        return 0
    return length


def sharing_key(row: TokenRow, causal: bool) -> tuple[int, ...]:
    """Sort key that brings together the rows that may share most.

    Rows with sources of different length share nothing in a bidirectional source, however alike their tokens are.
    """
    return row.keys if causal else (row.source, *row.keys)


def grow(rows: Sequence[TokenRow], causal: bool) -> Forest:
    """Merge rows into a forest: rows are sorted, so that each shares with its predecessor all it shares with any.

    `causal`: whether tokens of the source region see only what precedes them; otherwise the source is one block.
    """
    order = sorted(range(len(rows)), key=lambda i: sharing_key(rows[i], causal))
    ids: list[int] = []
    end: list[int] = []
    block: list[int] = []
    segment: list[int] = []
    position: list[int] = []
    offset: list[int] = []
    slot: list[int] = []
    pieces: list[Piece] = []
    summaries: list[tuple[int, tuple[int, ...]]] = []
    places: list[tuple[int, ...]] = [()] * len(rows)
    path: list[int] = []
    previous: TokenRow | None = None
    segments = blocks = 0

    def close(keep: int) -> None:
        while len(path) > keep:
            end[path.pop()] = len(ids)

    for i in order:
        row = rows[i]
        keep = 0 if previous is None else shared_prefix(previous, row, causal)
        close(keep)
        if not causal and keep == 0:
            blocks += 1
        for t in range(keep, len(row.ids)):
            starts = t == 0 or row.segments[t] != row.segments[t - 1]
            segments += int(starts)
            ids.append(row.ids[t])
            end.append(0)
            block.append(blocks - 1 if not causal and t < row.source else -1)
            segment.append(segments - 1 if starts else segment[path[-1]])
            position.append(t)
            slot.append(row.slots[t] if row.slots else 0)
            offset.append(0 if starts else offset[path[-1]] + 1)
            if row.segments[t] in row.summaries:
                summed = [path[u] for u in range(t) if row.segments[u] == row.segments[t] - 1]
                summaries.append((len(ids) - 1, tuple(summed)))
            path.append(len(ids) - 1)
        places[i] = tuple(path)
        pieces.extend(_pieces(row, keep, len(ids), causal))
        previous = row
    close(0)
    return Forest(
        tuple(ids), tuple(end), tuple(block), tuple(segment), tuple(position), tuple(offset), tuple(slot),
        tuple(places), tuple(pieces), tuple(summaries),
    )  # fmt: skip


def _pieces(row: TokenRow, keep: int, total: int, causal: bool) -> Iterator[Piece]:
    """The segments of a row's tokens from `keep` on, which were appended last to a forest of now `total` tokens."""
    shift = total - len(row.ids)
    start = keep
    while start < len(row.ids):
        ordinal = row.segments[start]
        first = row.segments.index(ordinal)
        stop = start
        while stop < len(row.ids) and row.segments[stop] == ordinal:
            stop += 1
        yield Piece(
            place=shift + start,
            offset=start - first,
            length=stop - start,
            ids=row.ids[first:stop],
            mutual=not causal and start < row.source,
            recurs=ordinal not in row.passing,
        )
        start = stop
