"""Slices of layers, kernels and scopes on every family, and parity with transformers' own forward pass."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from m6rec_core.backbone.hf import Backbone
from m6rec_core.errors import BackboneError
from m6rec_core.testing import tiny_backbone
from m6rec_core.testing.tiny import tiny_config
from m6rec_core.tokens.batching import Encoded, collate, plan_packs
from m6rec_core.tokens.encode import TokenRow
from m6rec_core.tokens.layout import Layout
from m6rec_core.tokens.tree import grow
from m6rec_core.types import Sample

FAMILIES = ("llama", "qwen2", "qwen3", "mistral")
PROPERTY = settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
IDS = st.lists(st.integers(0, 300), min_size=1, max_size=12)


@pytest.fixture(scope="module", params=FAMILIES)
def backbone(request):
    return tiny_backbone(request.param)


def layout_of(rows: list[TokenRow], causal: bool) -> tuple[torch.Tensor, Layout, list[tuple[int, ...]]]:
    """All rows merged into one pack: ids [1, T], the layout, and where each row went."""
    forest = grow(rows, causal)
    fields = ("end", "block", "segment", "position", "offset")
    layout = Layout(*(torch.tensor([getattr(forest, name)]) for name in fields))
    return torch.tensor([forest.ids]), layout, list(forest.places)


def row(ids: list[int], source: int = 0, segment: int = 4) -> TokenRow:
    """A row cut into segments of a fixed length; the source ends where a segment ends."""
    segments = tuple(t // segment for t in range(len(ids)))
    return TokenRow(tuple(ids), segments, min(source * segment, len(ids)), len(ids) - 1, (), 0)


def assert_close(left: torch.Tensor, right: torch.Tensor) -> None:
    torch.testing.assert_close(left, right, rtol=1e-9, atol=1e-9)


@torch.no_grad()
@pytest.mark.parametrize("own", ["sdpa", "eager"])
@PROPERTY
@given(ids=IDS)
def test_causal_rows_match_transformers_own_forward(backbone, own, ids):
    reference = copy.deepcopy(backbone.decoder)
    reference.set_attn_implementation(own)
    expected = reference(input_ids=torch.tensor([ids]), use_cache=False).logits
    tokens, layout, places = layout_of([row(ids), row([*ids, 7]), row([5, *ids])], causal=True)
    hidden = backbone.run(backbone.embed(tokens), layout, 0, backbone.spec.layers)
    logits = backbone.vocabulary(backbone.final_norm(hidden[0, list(places[0])]))
    # transformers' eager attention rounds the softmax to float32
    tolerance = 1e-9 if own == "sdpa" else 1e-4
    torch.testing.assert_close(logits, expected[0], rtol=tolerance, atol=tolerance)


@torch.no_grad()
@pytest.mark.parametrize("causal", [True, False])
@PROPERTY
@given(ids=IDS, source=st.integers(0, 3), cut=st.integers(0, 3))
def test_layers_run_in_slices(backbone, causal, ids, source, cut):
    tokens, layout, _ = layout_of([row(ids, source), row([*ids, 1], source)], causal)
    hidden = backbone.embed(tokens)
    for scope in ("row", "segment"):
        whole = backbone.run(hidden, layout, 0, 3, scope=scope)
        lower = backbone.run(hidden, layout, 0, cut, scope=scope)
        assert_close(backbone.run(lower, layout, cut, 3, scope=scope), whole)
    assert torch.equal(backbone.run(hidden, layout, 2, 2), hidden)


@torch.no_grad()
@pytest.mark.parametrize("causal", [True, False])
@PROPERTY
@given(ids=IDS, source=st.integers(0, 3))
def test_one_pass_over_segments_is_each_segment_by_itself(backbone, causal, ids, source):
    whole = row(ids, source)
    tokens, layout, places = layout_of([whole, row([*ids[:5], 9], source)], causal)
    together = backbone.run(backbone.embed(tokens), layout, 0, 3, scope="segment")[0, list(places[0])]
    for ordinal in sorted(set(whole.segments)):
        inside = [t for t, s in enumerate(whole.segments) if s == ordinal]
        text = [ids[t] for t in inside]
        alone = TokenRow(tuple(text), (0,) * len(text), len(text) if inside[0] < whole.source else 0, 0, (), 0)
        alone_ids, alone_layout, _ = layout_of([alone], causal)
        assert_close(backbone.run(backbone.embed(alone_ids), alone_layout, 0, 3)[0], together[inside])


@torch.no_grad()
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("scope", ["row", "segment"])
@settings(PROPERTY, max_examples=3)
@given(rows=st.lists(IDS, min_size=1, max_size=4), source=st.integers(0, 2))
def test_kernels_agree(backbone, causal, scope, rows, source):
    samples = [Encoded("a", i, Sample(id=str(i)), (row(r, source),)) for i, r in enumerate(rows)]
    batch = collate(plan_packs(samples, 16, causal), backbone.spec.vocabulary)
    used = torch.cat([t.tokens for t in batch.tasks.values()])
    found = {}
    for kernel in ("plain", "sdpa", "flex"):
        other = copy.copy(backbone)
        other.kernel = kernel
        hidden = other.run(other.embed(batch.ids), batch.layout, 0, 3, scope=scope)
        found[kernel] = hidden.flatten(0, 1)[used]
    assert_close(found["sdpa"], found["plain"])
    assert_close(found["flex"], found["plain"])


def test_gradients_agree_between_kernels(backbone):
    tokens, layout, _ = layout_of([row(list(range(9)), 1), row([0, 1, 2, 3, 8, 8], 1)], causal=False)
    gradients = []
    for kernel in ("plain", "sdpa"):
        other = copy.copy(backbone)
        other.kernel = kernel
        hidden = backbone.embed(tokens).requires_grad_()
        other.run(hidden, layout, 0, 3).square().sum().backward()
        gradients.append(hidden.grad)
    assert_close(gradients[0], gradients[1])
    assert all(p.grad is None for p in backbone.parameters())


@torch.no_grad()
@PROPERTY
@given(ids=IDS, other=IDS, source=st.integers(1, 2))
def test_the_source_never_sees_the_target_but_sees_itself(backbone, ids, other, source):
    head = [*range(4 * source)]
    states = []
    for target in (ids, other):
        tokens, layout, _ = layout_of([row([*head, *target], source)], causal=False)
        states.append(backbone.run(backbone.embed(tokens), layout, 0, 3)[0, : len(head)])
    assert torch.equal(states[0], states[1]) or torch.allclose(states[0], states[1], rtol=1e-12, atol=1e-12)
    tokens, layout, _ = layout_of([row([*head[:-1], 99], source)], causal=False)
    changed = backbone.run(backbone.embed(tokens), layout, 0, 3)[0, 0]
    assert not torch.allclose(changed, states[0][0])


@torch.no_grad()
def test_an_adapter_adds_to_its_layer_only(backbone):
    tokens, layout, _ = layout_of([row([1, 2, 3])], causal=True)
    hidden = backbone.embed(tokens)
    adding = Adding()
    adapted = backbone.run(hidden, layout, 0, 3, adding)
    assert_close(adapted, backbone.run(hidden, layout, 0, 3) + 1.0)
    assert adding.seen == ["attention", 0, "ffn", 0, "attention", 1, "ffn", 1, "attention", 2, "ffn", 2]


class Adding:
    """Adds one to the output of layer 2's feed-forward network, nothing to an attention."""

    def __init__(self):
        self.seen = []

    def ffn(self, layer, z):
        self.seen += ["ffn", layer]
        return torch.ones_like(z) if layer == 2 else None

    def attention(self, layer, z):
        self.seen += ["attention", layer]


class Shifting(Adding):
    """Adds something to every attention's input."""

    def attention(self, layer, z):
        return 0.3 * z.roll(1, -1) + layer


@pytest.mark.parametrize("kernel", ["plain", "sdpa", "flex"])
@pytest.mark.parametrize("causal", [True, False])
@settings(PROPERTY, max_examples=3)
@given(rows=st.lists(IDS, min_size=1, max_size=4), source=st.integers(0, 2), data=st.data())
def test_read_places_have_the_states_of_the_whole(backbone, kernel, causal, rows, source, data):
    samples = [Encoded("a", i, Sample(id=str(i)), (row(r, source),)) for i, r in enumerate(rows)]
    batch = collate(plan_packs(samples, 16, causal), backbone.spec.vocabulary)
    used = torch.cat([t.tokens for t in batch.tasks.values()]).tolist()
    read = torch.tensor(data.draw(st.lists(st.sampled_from(used), min_size=1, max_size=6)))
    other = copy.copy(backbone)
    other.kernel = kernel
    found = []
    for places in (None, read):
        hidden = other.embed(batch.ids).detach().requires_grad_(kernel != "flex")  # forward only, on a CPU
        states = other.run(hidden, batch.layout, 0, 3, Shifting(), read=places)
        states = states.flatten(0, 1)[read] if places is None else states
        if hidden.requires_grad:
            states.square().sum().backward()
        found.append((states, hidden.grad))
    assert_close(found[1][0], found[0][0])
    if kernel == "flex":
        return
    torch.testing.assert_close(found[1][1], found[0][1], rtol=1e-4, atol=1e-6)  # norms round gradients to float32


def test_the_backbone_is_frozen_until_it_is_unfrozen():
    half = tiny_backbone(dtype=torch.bfloat16, layers=1)
    assert half.dtype is torch.bfloat16
    assert not half.training
    assert not any(p.requires_grad for p in half.parameters())
    half.unfreeze()
    assert half.dtype is torch.float32
    assert all(p.requires_grad for p in half.parameters())


def test_rotary_frequencies_are_never_rounded():
    exact, half = tiny_backbone(layers=1), tiny_backbone(layers=1, dtype=torch.bfloat16)
    assert torch.equal(exact.decoder.model.rotary_emb.inv_freq, half.decoder.model.rotary_emb.inv_freq)
    assert torch.equal(exact.embedding.bfloat16(), half.embedding)


@pytest.mark.parametrize("slice_", [(-1, 2), (2, 1), (0, 4)])
def test_a_slice_outside_of_the_layers_is_refused(backbone, slice_):
    tokens, layout, _ = layout_of([row([1])], causal=True)
    with pytest.raises(ValueError, match="not within"):
        backbone.run(backbone.embed(tokens), layout, *slice_)


def test_what_is_no_supported_decoder_is_refused():
    from transformers import AutoModelForCausalLM, Gemma2Config, GPT2Config

    good = tiny_backbone(layers=1)
    for config, reason in (
        (GPT2Config(n_embd=8, n_layer=1, n_head=1, vocab_size=9), "not a pre-norm RoPE decoder"),
        (Gemma2Config(hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1, head_dim=8,
                      num_key_value_heads=1, vocab_size=9), "layer parts this project does not run"),
    ):  # fmt: skip
        with pytest.raises(BackboneError, match=reason):
            Backbone(AutoModelForCausalLM.from_config(config), good.tokenizer, good.spec)
    window = tiny_config("mistral", 1, 9)
    window.sliding_window = 4
    with pytest.raises(BackboneError, match="sliding-window"):
        Backbone(AutoModelForCausalLM.from_config(window), good.tokenizer, good.spec)
    with pytest.raises(BackboneError, match="not a pre-norm"):
        Backbone(nn.Linear(1, 1), good.tokenizer, good.spec)
