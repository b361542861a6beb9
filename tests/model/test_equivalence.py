"""Alone = packed = merged = mixed = padded = one by one, in any order (design 9.3), in float64, for every family."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lines_task import TASK, Lines, sample_lists

from m6rec_core.config import TaskConfig, TuningConfig
from m6rec_core.errors import M6RecError
from m6rec_core.model import M6Rec
from m6rec_core.testing import build_tuned, encode_samples, one_batch, tiny_backbone
from m6rec_core.testing.building import perturb
from m6rec_core.tokens.batching import Encoded, collate, plan_packs
from m6rec_core.types import Pooling, Readout

ONE = TaskConfig(options=(" No", " Yes"), instruction="Will the user like it?")
TWO = TaskConfig(options=(" bad", " so so", " good"), instruction="Something else altogether, and longer.")
PROPERTY = settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module", params=[(f, a) for f in ("llama", "qwen2", "qwen3", "mistral")
                                        for a in ("causal", "prefix")], ids="-".join)  # fmt: skip
def model(request):
    """Two instances: other prompts, another number of them, other options, adapters in other layers."""
    family, attention = request.param
    backbone = tiny_backbone(family, attention=attention)
    first = build_tuned(TASK, ONE, backbone, TuningConfig(budget=0.9, prompts=3), seed=1)
    second = build_tuned(TASK, TWO, backbone, TuningConfig(budget=0.9, prompts=5, adapter_layers=2, init="random"), 2)
    return M6Rec(backbone, {"one": perturb(first, 1), "two": perturb(second, 2)}).eval()


def encoded(model: M6Rec, name: str, samples: list[Lines]) -> list[Encoded]:
    tuned = build_tuned(TASK, ONE, model.backbone, TuningConfig(budget=0.9, prompts=3 if name == "one" else 5))
    return list(encode_samples(name, tuned, samples, model.backbone))


@torch.no_grad()
def states(model: M6Rec, batch) -> dict[tuple[str, str, int], torch.Tensor]:
    """What a head sees of each row: read-out and the states that predict scored tokens; by task, sample id and row."""
    found = {}
    for name, view in model.views(batch).items():
        owners = view.sample_of_row.tolist()
        for r, owner in enumerate(owners):
            scored = view.scored.hidden[view.scored.row == r]
            key = (name, view.samples[owner].id, r - owners.index(owner))
            found[key] = torch.cat([view.hidden[r][None], scored])
    return found


def assert_same(left: dict, right: dict) -> None:
    assert left.keys() == right.keys()
    for key, value in left.items():
        torch.testing.assert_close(value, right[key], rtol=1e-9, atol=1e-9)


@PROPERTY
@given(first=sample_lists(), second=sample_lists(), budget=st.integers(20, 200), data=st.data())
def test_every_way_of_batching_gives_the_same_states(model, first, second, budget, data):
    backbone = model.backbone
    samples = [*encoded(model, "one", first), *encoded(model, "two", second)]
    alone = {}
    for sample in samples:
        alone.update(states(model, one_batch([sample], backbone)))
    one_by_one = {}
    for sample in samples:
        for r, row in enumerate(sample.rows):
            single = Encoded(sample.task, sample.index, sample.sample, (row,))
            found = states(model, one_batch([single], backbone))
            one_by_one.update({(task, name, r): value for (task, name, _), value in found.items()})
    assert_same(one_by_one, alone)
    order = data.draw(st.permutations(samples))
    assert_same(states(model, one_batch(order, backbone)), alone)  # padded, mixed, any order
    assert_same(states(model, one_batch(order, backbone, merged=True)), alone)  # merged, mixed, any order
    packs = plan_packs(samples, budget, backbone.causal)
    assert_same(states(model, collate(packs, backbone.spec.vocabulary)), alone)
    by_pack = {}
    for pack in packs:
        by_pack.update(states(model, collate([pack], backbone.spec.vocabulary)))
    assert_same(by_pack, alone)


@PROPERTY
@given(first=sample_lists(), second=sample_lists())
def test_losses_and_predictions_are_those_of_the_rows_alone(model, first, second):
    samples = [*encoded(model, "one", first), *encoded(model, "two", second)]
    batch = one_batch(samples, model.backbone, merged=True)
    losses, predictions = model(batch), model.predict(batch)
    for name, rows in batch.tasks.items():
        assert losses[name].shape == (len(rows.samples),)
        assert [p.id for p in predictions[name]] == [s.id for s in rows.samples]
        for place, sample in enumerate(rows.samples):
            [own] = [e for e in samples if (e.task, e.sample.id) == (name, sample.id)]
            alone = model(one_batch([own], model.backbone))[name]
            torch.testing.assert_close(losses[name][place : place + 1], alone, rtol=1e-9, atol=1e-9)


@PROPERTY
@given(first=sample_lists(), second=sample_lists())
def test_gradients_of_a_mixed_batch_are_those_of_the_rows_alone(model, first, second):
    samples = [*encoded(model, "one", first), *encoded(model, "two", second)]
    tuned = [p for part in (model.tunings, model.heads) for p in part.parameters() if p.requires_grad]

    def gradients(batches):
        total = sum(loss.sum() for batch in batches for loss in model(batch).values())
        return torch.autograd.grad(total, tuned, allow_unused=True)

    mixed = gradients([one_batch(samples, model.backbone, merged=True)])
    alone = gradients([one_batch([sample], model.backbone) for sample in samples])
    # The norms of transformers round to float32, and so do their gradients: the order of sums shows.
    for left, right, parameter in zip(mixed, alone, tuned, strict=True):
        pair = [torch.zeros_like(parameter) if g is None else g for g in (left, right)]
        torch.testing.assert_close(*pair, rtol=1e-4, atol=1e-5 * (1.0 + float(pair[1].abs().max())))


@torch.no_grad()
@pytest.mark.parametrize("readout", list(Readout))
def test_a_pooled_row_is_the_mean_of_the_states_read_one_by_one(model, readout):
    lines, target = ("Heat: liked\n", "A user.\n"), "Up:"
    [whole] = encoded(model, "one", [Lines(id="0", rows=((lines, target),), readout=readout, pooling=Pooling.MEAN)])
    row = whole.rows[0]
    places = range(row.readout + 1 - row.pooled, row.readout + 1)
    assert len(places) == (row.source - 3 if readout is Readout.SOURCE else len(row.ids) - row.source)
    apart = [replace(row, readout=place, pooled=1, scored=()) for place in places]
    single = [Encoded("one", n, whole.sample, (one,)) for n, one in enumerate(apart)]
    expected = torch.stack([model.views(one_batch([one], model.backbone))["one"].hidden[0] for one in single])
    found = model.views(one_batch([whole], model.backbone))["one"].hidden
    torch.testing.assert_close(found[0], expected.mean(0), rtol=1e-9, atol=1e-9)


def test_the_two_instances_differ(model):
    sample = Lines(id="0", rows=((("Heat: liked\n",), "Up:"),))
    batch = one_batch([*encoded(model, "one", [sample]), *encoded(model, "two", [sample])], model.backbone)
    found = states(model, batch)
    assert not torch.allclose(found["one", "0", 0][0], found["two", "0", 0][0], atol=1e-3)


def test_views_hold_options_and_vocabulary_of_the_task(model):
    sample = Lines(id="0", rows=((("Heat: liked\n",), "Up:"),))
    batch = one_batch([*encoded(model, "one", [sample]), *encoded(model, "two", [sample])], model.backbone)
    views = model.views(batch)
    assert [views[name].options.shape for name in ("one", "two")] == [(2, 32), (3, 32)]
    assert views["one"].vocabulary(views["one"].hidden).shape == (1, model.backbone.spec.vocabulary)


def test_a_batch_of_an_unknown_task_is_an_error(model):
    sample = encoded(model, "one", [Lines(id="0", rows=((("a",), "b"),))])[0]
    stray = Encoded("three", 0, sample.sample, sample.rows)
    with pytest.raises(M6RecError, match="without a loaded pack: three"):
        model(one_batch([stray], model.backbone))


def test_generation_is_refused_in_one_line():
    from m6rec_core.model import no_generation

    with pytest.raises(M6RecError, match="only scores"):
        no_generation([], 3)
