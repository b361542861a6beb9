"""One pass = separate segments = cached, merged = alone = one by one, in float64, values and gradients."""

from __future__ import annotations

import late_rows as kit
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lines_task import sample_lists

from m6rec_core.model import M6Rec
from m6rec_core.testing import encode_samples, one_batch
from m6rec_core.tokens.batching import Encoded, collate, plan_packs
from m6rec_core.tokens.layout import Layout
from m6rec_core.tuning.sharing import SharedStates

PROPERTY = settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
CASES = [
    ("causal", {"segment_embeddings": "order"}),
    ("causal", {"segment_embeddings": "recency", "late_prompts": "late", "late_layers": 2}),
    ("causal", {"segment_embeddings": "kind", "adapter_layers": "all"}),
    ("prefix", {"segment_embeddings": "recency"}),
    ("causal", {"segment_embeddings": "age"}),
    ("prefix", {"segment_embeddings": "none", "late_layers": 3}),
    ("causal", {"segment_summaries": 2, "segment_embeddings": "recency"}),
    ("prefix", {"segment_summaries": 1, "late_layers": 2, "adapter_layers": "all"}),
    ("causal", {"adapter_places": ("ffn", "attention"), "adapter_layers": "all", "late_layers": 2}),
    ("causal", {"student_layers": 2, "segment_embeddings": "order"}),
    ("prefix", {"student_layers": 2, "segment_embeddings": "recency", "adapter_layers": "all"}),
]


@pytest.fixture(scope="module", params=CASES, ids=lambda c: "-".join([c[0], *map(str, c[1].values())]))
def model(request):
    attention, values = request.param
    return kit.late_model(attention, **values)


def encoded(model: M6Rec, samples: list[kit.Lines]) -> list[Encoded]:
    return list(encode_samples("lines", tuned_of(model), samples, model.backbone))


def tuned_of(model: M6Rec):
    from m6rec_core.model import TunedTask

    return TunedTask(kit.TASK, kit.SETTINGS, model.tunings["lines"], model.heads["lines"])


def states(model: M6Rec, batch) -> dict[tuple[str, int], torch.Tensor]:
    """What a head sees of each row, by sample id and row."""
    found = {}
    view = model.views(batch)["lines"]
    owners = view.sample_of_row.tolist()
    for r, owner in enumerate(owners):
        scored = view.scored.hidden[view.scored.row == r]
        found[view.samples[owner].id, r - owners.index(owner)] = torch.cat([view.hidden[r][None], scored])
    return found


def assert_same(left: dict, right: dict) -> None:
    assert left.keys() == right.keys()
    for key, value in left.items():
        torch.testing.assert_close(value, right[key], rtol=1e-9, atol=1e-9)


def by_hand(model: M6Rec, sample: Encoded) -> dict[tuple[str, int], torch.Tensor]:
    """The definition: each segment through the lower layers by itself, the concatenation through the upper ones."""
    backbone, tuning, found = model.backbone, model.tunings["lines"], {}
    depth = tuning.student_layers or backbone.spec.layers
    below = depth - tuning.late_layers
    for r, row in enumerate(sample.rows):
        parts = []
        for ordinal in sorted(set(row.segments)):
            inside = [t for t, s in enumerate(row.segments) if s == ordinal]
            ids = [row.ids[t] for t in inside]
            if ordinal in row.summaries:
                parts.append(summed_up(model, parts[-1], len(ids)))
                continue
            embedded = torch.stack([embedding(model, token) for token in ids])[None]
            if ids[0] < 0 and tuning.late_prompts:
                parts.append(embedded[0])
                continue
            mutual = not backbone.causal and inside[0] < row.source
            parts.append(backbone.run(embedded, plain_layout(len(ids), len(ids) if mutual else 0), 0, below,
                                      tuning)[0])  # fmt: skip
        hidden = torch.cat(parts)
        if tuning.segments is not None:
            hidden = hidden + tuning.segments.embeddings[list(row.slots)]
        layout = plain_layout(len(row.ids), 0 if backbone.causal else row.source)
        hidden = backbone.run(hidden[None], layout, below, depth, tuning)[0]
        states = backbone.final_norm(hidden)
        read = states[row.readout + 1 - row.pooled : row.readout + 1].mean(0, keepdim=True)
        found[sample.sample.id, r] = torch.cat([read, states[[t - 1 for t in row.scored if t > 0]]])
    return found


def summed_up(model: M6Rec, states: torch.Tensor, count: int) -> torch.Tensor:
    """The definition: the mean direction, as large as the last state, and a learned vector each."""
    sizes = [state.square().mean().sqrt() for state in states]
    mean = sum(state / size for state, size in zip(states, sizes, strict=True)) / len(states)
    return torch.stack([mean * sizes[-1] + model.tunings["lines"].summaries.embeddings[j] for j in range(count)])


def embedding(model: M6Rec, token: int) -> torch.Tensor:
    tuning, vocabulary = model.tunings["lines"], model.backbone.spec.vocabulary
    if token < 0:
        return tuning.prompts()[-1 - token]
    return tuning.markers()[token - vocabulary] if token >= vocabulary else model.backbone.embedding[token]


def plain_layout(length: int, mutual: int) -> Layout:
    index = torch.arange(length)[None]
    block = torch.where(index < mutual, 0, -1)
    return Layout(torch.full_like(index, length), block, torch.zeros_like(index), index, index)


@torch.no_grad()
@PROPERTY
@given(samples=sample_lists(), budget=st.integers(20, 200))
def test_one_pass_is_separate_segments_and_cached_and_merged(model, samples, budget):
    rows = encoded(model, samples)
    vocabulary = model.backbone.spec.vocabulary
    expected = {}
    for sample in rows:
        expected.update(by_hand(model, sample))
    packs = plan_packs(rows, budget, model.backbone.causal)
    for cache in (None, kit.cache_of(model), kit.cache_of(model, memory=40 * 32 * 8)):
        model.segments = cache
        one_by_one = {}
        for sample in rows:
            one_by_one.update(states(model, one_batch([sample], model.backbone)))
        assert_same(one_by_one, expected)
        assert_same(states(model, one_batch(rows, model.backbone, merged=True)), expected)
        assert_same(states(model, collate(packs, vocabulary)), expected)


def gradients(model: M6Rec, batch) -> dict[str, torch.Tensor]:
    model.zero_grad(set_to_none=True)
    model(batch)["lines"].sum().backward()
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("prompts", ["input", "late"])
def test_tuning_from_the_cache_has_the_gradients_of_one_pass(prompts):
    model = kit.late_model(late_prompts=prompts, segment_summaries=2, adapter_places=("ffn", "attention"))
    batch = one_batch(encoded(model, kit.fixed_samples()), model.backbone, merged=True)
    model.segments = None
    expected = gradients(model, batch)
    model.segments = kit.cache_of(model)
    found = gradients(model, batch)
    assert found.keys() == expected.keys()
    trained = {"soft.prompts", "segments.embeddings", "summaries.embeddings", "attention_adapters.layers.2.w2"}
    assert {f"tunings.lines.{name}" for name in trained} < found.keys()
    for name, value in expected.items():
        # The norms of transformers round to float32, gradients too: one pass rounds each use of a prompt by itself.
        torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-4)
    assert model.segments.counts().asked > 0


def test_forwards_that_share_their_prompts_have_the_gradients_of_one_forward():
    model = kit.late_model(segment_summaries=1)
    rows = encoded(model, kit.fixed_samples(6))
    model.segments = kit.cache_of(model)
    expected = gradients(model, one_batch(rows, model.backbone))
    model.zero_grad(set_to_none=True)
    model.shared = SharedStates()
    for number, row in enumerate(rows):
        if number == len(rows) - 1:
            model.shared.last_forward()
        loss = model(one_batch([row], model.backbone))["lines"].sum()
        torch.stack([loss, *(model.shared.owed() if number == len(rows) - 1 else ())]).sum().backward()
    found = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-4)


def test_adapters_below_train_in_one_pass_though_there_is_a_cache():
    model = kit.late_model(adapter_layers="all")
    model.segments = kit.cache_of(model)
    batch = one_batch(encoded(model, kit.fixed_samples()), model.backbone, merged=True)
    found = gradients(model, batch)
    assert "tunings.lines.adapters.layers.0.w2" in found
    assert model.segments.counts().asked == 0


def test_after_a_step_nothing_stale_is_read():
    model = kit.late_model(adapter_layers="all")
    model.segments = cache = kit.cache_of(model)
    batch = one_batch(encoded(model, kit.fixed_samples()), model.backbone, merged=True)
    with torch.no_grad():
        states(model, batch)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, foreach=True)
    gradients(model, batch)
    optimizer.step()
    with torch.no_grad():
        found = states(model, batch)
        model.segments = None
        assert_same(found, states(model, batch))
    assert cache.counts().computed == cache.counts().segments


def test_tasks_of_different_depth_cannot_share_a_batch():
    from m6rec_core.errors import M6RecError

    one = kit.late_model()
    two = kit.late_model(backbone=one.backbone, late_layers=2)
    both = M6Rec(one.backbone, {"lines": tuned_of(one), "other": tuned_of(two)})
    first = encoded(one, kit.fixed_samples(1))
    second = encode_samples("other", tuned_of(two), kit.fixed_samples(1), one.backbone)
    with pytest.raises(M6RecError, match="1 and 2 late layers"):
        both.views(one_batch([*first, *second], one.backbone))


def test_two_tasks_share_the_cache_and_a_batch():
    one = kit.late_model(seed=1)
    two = kit.late_model(backbone=one.backbone, seed=2)
    both = M6Rec(one.backbone, {"lines": tuned_of(one), "other": tuned_of(two)}).eval()
    both.segments = kit.cache_of(one)
    first = encoded(one, kit.fixed_samples())
    second = list(encode_samples("other", tuned_of(two), kit.fixed_samples(), one.backbone))
    with torch.no_grad():
        views = both.views(one_batch([*first, *second], one.backbone))
        expected = states(one, one_batch(first, one.backbone))
        for i, sample in enumerate(views["lines"].samples):
            torch.testing.assert_close(views["lines"].hidden[i], expected[sample.id, 0][0], rtol=1e-9, atol=1e-9)
    counts = both.segments.counts()
    assert counts.computed < counts.asked / 2  # the second task found what the first one had computed


def test_a_task_with_late_layers_is_refused_writing():
    from m6rec_core.errors import M6RecError

    late = kit.late_model()
    model = M6Rec(late.backbone, {"lines": tuned_of(late)}, lambda _model, _name: pytest.fail("it was asked to write"))
    with pytest.raises(M6RecError, match="late_layers 0"):
        model.generate("lines")([], 3)
