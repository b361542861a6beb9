"""Masks, positions and segments of merged rows against the definitions, pair by pair."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from m6rec_core.tokens.batching import Encoded, Pack, Tree, collate
from m6rec_core.tokens.encode import TokenRow
from m6rec_core.tokens.layout import Layout
from m6rec_core.tokens.tree import grow, shared_prefix
from m6rec_core.types import Sample

V = 10


@st.composite
def token_rows(draw: st.DrawFn, count: int = 6) -> list[TokenRow]:
    """Rows over a tiny alphabet, many of them beginning like an earlier one, with sources of any length."""
    rows: list[TokenRow] = []
    for _ in range(draw(st.integers(1, count))):
        ids, segments = draw(st.sampled_from([((), ())] + [(r.ids, r.segments) for r in rows]))
        keep = draw(st.integers(0, len(ids)))
        ids, segments = list(ids[:keep]), list(segments[:keep])
        for length in draw(st.lists(st.integers(1, 3), min_size=0 if ids else 1, max_size=3)):
            same = bool(segments) and draw(st.booleans())
            ordinal = segments[-1] + (0 if same else 1) if segments else 0
            ids += draw(st.lists(st.integers(-2, 1), min_size=length, max_size=length))
            segments += [ordinal] * length
        source = draw(st.integers(0, len(ids)))
        rows.append(TokenRow(tuple(ids), tuple(segments), source, len(ids) - 1, (), 0))
    return rows


def sees(row: TokenRow, query: int, key: int, causal: bool, scope: str) -> bool:
    """The definition, for two tokens of one row (paper Fig. 1 and 3.3)."""
    allowed = key <= query or (not causal and max(query, key) < row.source)
    return allowed and (scope == "row" or row.segments[query] == row.segments[key])


def layout_of(rows: list[TokenRow], causal: bool) -> tuple[Layout, tuple[tuple[int, ...], ...]]:
    forest = grow(rows, causal)
    fields = ("end", "block", "segment", "position", "offset")
    return Layout(*(torch.tensor([getattr(forest, name)]) for name in fields)), forest.places


@settings(max_examples=150, deadline=None)
@given(rows=token_rows(), causal=st.booleans(), scope=st.sampled_from(["row", "segment"]))
def test_a_token_sees_what_the_definition_says_and_nothing_else(rows, causal, scope):
    layout, places = layout_of(rows, causal)
    expected = torch.zeros(layout.end.shape[1], layout.end.shape[1], dtype=torch.bool)
    for row, where in zip(rows, places, strict=True):
        for query, q in enumerate(where):
            for key, k in enumerate(where):
                expected[q, k] |= sees(row, query, key, causal, scope)
    assert torch.equal(layout.visible(scope)[0], expected)
    # A shared token has one answer: every row that holds it sees the same through it.
    for row, where in zip(rows, places, strict=True):
        for query, q in enumerate(where):
            seen = {where[key] for key in range(len(where)) if sees(row, query, key, causal, scope)}
            assert seen == set(expected[q].nonzero().flatten().tolist())


@settings(max_examples=100, deadline=None)
@given(rows=token_rows(), causal=st.booleans())
def test_every_row_keeps_its_tokens_positions_and_segments(rows, causal):
    forest = grow(rows, causal)
    for row, where in zip(rows, forest.places, strict=True):
        assert tuple(forest.ids[w] for w in where) == row.ids
        assert [forest.position[w] for w in where] == list(range(len(row.ids)))
        starts = {ordinal: row.segments.index(ordinal) for ordinal in row.segments}
        assert [forest.offset[w] for w in where] == [t - starts[o] for t, o in enumerate(row.segments)]
        names = [forest.segment[w] for w in where]
        assert all((a == b) == (names[i] == names[j])
                   for i, a in enumerate(row.segments) for j, b in enumerate(row.segments))  # fmt: skip


@settings(max_examples=100, deadline=None)
@given(rows=token_rows(), causal=st.booleans())
def test_merging_shares_all_that_may_be_shared(rows, causal):
    best = 0
    seen: list[TokenRow] = []
    for row in rows:
        best += len(row.ids) - max((shared_prefix(other, row, causal) for other in seen), default=0)
        seen.append(row)
    assert len(grow(rows, causal).ids) == best
    assert len(grow(rows[::-1], causal).ids) == best


@settings(max_examples=60, deadline=None)
@given(groups=st.lists(st.lists(token_rows(3), min_size=1, max_size=2), min_size=1, max_size=3), causal=st.booleans())
def test_no_token_of_one_tree_sees_another_and_padding_sees_itself(groups, causal):
    packs = []
    for group in groups:
        trees = [Tree("a", (Encoded("a", 0, Sample(id="0"), tuple(rows)),), grow(rows, causal)) for rows in group]
        packs.append(Pack(tuple(trees)))
    batch = collate(packs, V)
    for scope in ("row", "segment"):
        visible = batch.layout.visible(scope)
        for g, pack in enumerate(packs):
            owner = [t for t, tree in enumerate(pack.trees) for _ in tree.forest.ids]
            owner += range(len(pack.trees), len(pack.trees) + visible.shape[1] - len(owner))
            tree_of = torch.tensor(owner)
            assert not bool((visible[g] & (tree_of[:, None] != tree_of[None, :])).any())
            assert bool(visible[g].diagonal().all())
    used = torch.cat([rows.tokens for rows in batch.tasks.values()])
    assert sorted(used.tolist()) == sorted(
        g * visible.shape[1] + t for g, pack in enumerate(packs) for t in range(pack.tokens)
    )
    assert batch.tokens == sum(pack.tokens for pack in packs)


def test_rows_with_sources_of_different_length_share_nothing_in_a_bidirectional_source():
    # X, Y, X again in token order: sorting by tokens alone would part the two that share everything.
    one = TokenRow((1, 1, 2), (1, 1, 2), 2, 2, (), 0)
    two = TokenRow((1, 1, 2, 3), (1, 1, 2, 3), 3, 3, (), 0)
    three = TokenRow((1, 1, 2, 4), (1, 1, 2, 4), 2, 3, (), 0)
    assert len(grow([one, two, three], causal=False).ids) == 4 + 4
    assert len(grow([one, two, three], causal=True).ids) == 5


def test_fields_of_different_shape_are_refused():
    field = torch.zeros(1, 3, dtype=torch.long)
    with pytest.raises(ValueError, match="one shape"):
        Layout(field, field, field, field, field[:, :2])
    with pytest.raises(ValueError, match="one shape"):
        Layout(*[field[0]] * 5)


def test_positions_restart_in_segments():
    layout, _ = layout_of([TokenRow((1, 2, 3, 4), (0, 0, 1, 1), 0, 3, (), 0)], causal=True)
    assert layout.positions("row").tolist() == [[0, 1, 2, 3]]
    assert layout.positions("segment").tolist() == [[0, 1, 0, 1]]
    moved = layout.to("cpu")
    assert torch.equal(moved.end, layout.end)
