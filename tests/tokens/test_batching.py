from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from m6rec_core.tokens.batching import Encoded, collate, plan_packs
from m6rec_core.tokens.encode import TokenRow
from m6rec_core.types import Sample

V = 10


def encoded(index: int, task: str, rows: list[list[int]], source: int = 1) -> Encoded:
    made = [
        TokenRow(tuple(r), tuple([0] * source + [1] * (len(r) - source)), source, len(r) - 1, (len(r) - 1,), 0)
        for r in rows
    ]
    return Encoded(task, index, Sample(id=str(index)), tuple(made))


ROWS = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=12), min_size=1, max_size=3)


@st.composite
def sample_lists(draw: st.DrawFn) -> list[Encoded]:
    count = draw(st.integers(1, 12))
    return [
        encoded(i, draw(st.sampled_from("ab")), draw(ROWS), draw(st.integers(0, 1)) if draw(st.booleans()) else 1)
        for i in range(count)
    ]


@settings(max_examples=120, deadline=None)
@given(samples=sample_lists(), budget=st.integers(4, 40), causal=st.booleans(), order=st.randoms())
def test_packs_hold_every_sample_once_within_the_budget_whatever_the_order(samples, budget, causal, order):
    packs = plan_packs(samples, budget, causal)
    held = [s.index for pack in packs for tree in pack.trees for s in tree.samples]
    assert sorted(held) == list(range(len(samples)))
    for pack in packs:
        single = len(pack.trees) == 1 and len(pack.trees[0].samples) == 1
        assert pack.tokens <= budget or single
        assert all(s.task == tree.task for tree in pack.trees for s in tree.samples)
    turned = list(samples)
    order.shuffle(turned)
    assert plan_packs(turned, budget, causal) == packs
    assert sum(p.samples for p in packs) == len(samples)
    assert sum(p.rows for p in packs) == sum(len(s.rows) for s in samples)


@settings(max_examples=60, deadline=None)
@given(samples=sample_lists(), budget=st.integers(4, 40), causal=st.booleans())
def test_a_batch_points_at_the_right_tokens(samples, budget, causal):
    batch = collate(plan_packs(samples, budget, causal), V)
    flat, positions = batch.ids.flatten(), batch.layout.position.flatten()
    assert batch.samples == len(samples)
    for rows in batch.tasks.values():
        by_row = [row for index in rows.indices for row in samples[index].rows]
        assert flat[rows.readout].tolist() == [row.ids[row.readout] for row in by_row]
        assert positions[rows.readout].tolist() == [row.readout for row in by_row]
        assert [samples[i].sample for i in rows.indices] == list(rows.samples)
        owners = [n for n, index in enumerate(rows.indices) for _ in samples[index].rows]
        assert rows.sample_of_row.tolist() == owners
        answers = [(r, row.ids[t], row.ids[t - 1]) for r, row in enumerate(by_row) for t in row.scored if t > 0]
        assert rows.scored_row.tolist() == [a[0] for a in answers]
        assert rows.scored_ids.tolist() == [a[1] for a in answers]
        assert flat[rows.scored_from].tolist() == [a[2] for a in answers]


def test_prompts_and_markers_leave_a_zero_and_are_listed():
    batch = collate(plan_packs([encoded(0, "a", [[-1, -2, 5, V + 3]], 2), encoded(1, "b", [[7]], 0)], 10), V)
    place = {task: int(rows.tokens[0]) for task, rows in batch.tasks.items()}
    rows = batch.tasks["a"]
    assert rows.prompt_slots.tolist() == [0, 1]
    assert rows.marker_slots.tolist() == [3]
    assert rows.marker_places.tolist() == [place["a"] + 3]
    assert batch.ids.flatten()[rows.tokens].tolist() == [0, 0, 5, 0]
    assert batch.ids.flatten()[place["b"]] == 7
    moved = batch.to("cpu")
    assert torch.equal(moved.ids, batch.ids)
    assert moved.tokens == batch.tokens == 5


def test_neighbours_share_a_tree():
    samples = [encoded(i, "a", [[0, 1, 2, 1, 2, i]]) for i in range(3)]
    packs = plan_packs(samples, 16)
    assert [p.tokens for p in packs] == [8]
    assert len(packs[0].trees) == 1


@pytest.mark.parametrize("causal", [True, {"a": True, "b": False}])
def test_the_attention_may_differ_by_task(causal):
    samples = [encoded(i, task, [[0, 1, 2, i]], 3) for i, task in enumerate("aabb")]
    packs = plan_packs(samples, 5, causal)
    blocks = {tree.task: max(tree.forest.block) for pack in packs for tree in pack.trees}
    assert blocks == {"a": -1, "b": -1 if causal is True else 0}
