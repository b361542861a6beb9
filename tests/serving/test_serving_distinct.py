"""Rows computed once each give what whole samples give, whatever recurs, and kept states are forgotten in time."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from m6rec_core.config import TaskConfig
from m6rec_core.errors import RegistryError
from m6rec_core.model import M6Rec, TunedTask
from m6rec_core.registry import Task
from m6rec_core.serving import distinct
from m6rec_core.serving.distinct import KeptStates, decode_states, distinct_rows, read_states
from m6rec_core.serving.scoring import in_order, predict_packs
from m6rec_core.testing.tiny import tiny_backbone
from m6rec_core.tokens.batching import Encoded, plan_packs
from m6rec_core.tokens.encode import RowEncoder
from m6rec_core.tuning.adapters import FfnAdapters
from m6rec_core.tuning.soft import MarkerEmbeddings, SoftPrompts
from m6rec_core.tuning.task import TaskTuning
from m6rec_core.types import LossScope, Pooling, Prediction, Readout, Region, Sample, Segment, TextRow

CPU = torch.device("cpu")


class Vector(Prediction):
    """A weighted sum of the states of a sample's rows, so that their order tells."""

    vector: tuple[float, ...]


def decode(head, view, generate):
    weight = torch.arange(1, len(view.hidden) + 1, dtype=torch.float64)
    first = torch.searchsorted(view.sample_of_row, view.sample_of_row)
    rows = view.hidden * (weight - first)[:, None]
    total = rows.new_zeros(len(view.samples), rows.shape[1]).index_add(0, view.sample_of_row, rows)
    return [Vector(id=one.id, vector=tuple(v)) for one, v in zip(view.samples, total.tolist(), strict=True)]


def model_of(attention="causal"):
    backbone = tiny_backbone(layers=2, attention=attention)
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(5, backbone.spec.hidden, generator=generator)
    tuning = TaskTuning(
        SoftPrompts(0.2 * start[:3], 0),
        MarkerEmbeddings(0.2 * start, True),
        FfnAdapters(backbone.spec.hidden, 4, 1, 2, generator),
    ).double()
    task = cast(Task, SimpleNamespace(decode=decode, manifest=SimpleNamespace(loss_scope=LossScope.ROW)))
    return M6Rec(backbone, {"t": TunedTask(task, TaskConfig(), tuning, torch.nn.Identity())})


def encoded(model, texts, markers=False, pooling=Pooling.LAST):
    encoder = RowEncoder(model.backbone.tokenizer, 3, 200)
    found = []
    for index, rows in enumerate(texts):
        made = [
            TextRow(
                (Segment(word, Region.BIDIRECTIONAL), Segment(" it", Region.AUTOREGRESSIVE)),
                Readout.SOURCE if source else Readout.TARGET, markers, pooling=pooling,
            )
            for word, source in rows
        ]  # fmt: skip
        found.append(Encoded("t", index, Sample(id=str(index)), tuple(map(encoder, made))))
    return found


def plain(model, samples):
    found = dict(predict_packs(model, "t", plan_packs(samples, 64, model.backbone.causal), CPU))
    return in_order(found, len(samples))


def by_rows(model, samples, kept=None, tick=lambda _n: None):
    states = read_states(model, "t", distinct_rows(samples), 64, CPU, None, tick, kept)
    return decode_states(model, "t", [one.sample for one in samples], states)


def numbers(predictions):
    return torch.tensor([one.vector for one in predictions], dtype=torch.float64)


row = st.tuples(st.sampled_from(["Heat", "Heat and Alien", "a film", "Alien"]), st.booleans())
texts = st.lists(st.lists(row, min_size=1, max_size=4), min_size=1, max_size=6)


@pytest.mark.parametrize("attention", ["causal", "prefix"])
@pytest.mark.parametrize("markers", [False, True])
@pytest.mark.parametrize("pooling", list(Pooling))
def test_distinct_rows_give_what_samples_give(attention, markers, pooling, monkeypatch):
    model = model_of(attention)
    monkeypatch.setattr(distinct, "CHUNK_ROWS", 5)

    @settings(max_examples=15, deadline=None)
    @given(texts)
    def check(words):
        samples = encoded(model, words, markers, pooling)
        found = distinct_rows(samples)
        assert len(found.rows) == len({one for rows in words for one in rows})
        assert found.index.shape == found.sample_of_row.shape == (sum(map(len, words)),)
        answers, expected = by_rows(model, samples), plain(model, samples)
        assert [one.id for one in answers] == [one.id for one in expected]
        torch.testing.assert_close(numbers(answers), numbers(expected), rtol=0, atol=1e-10)

    check()


def test_rows_that_are_read_in_different_ways_are_different_rows():
    model = model_of()
    both = [*encoded(model, [[("Heat", True)]]), *encoded(model, [[("Heat", True)]], pooling=Pooling.MEAN)]
    assert len(distinct_rows(both).rows) == 2


def test_rows_repeat_when_half_of_them_do():
    model = model_of()
    twice = [[("Heat", True), ("Heat", True)], [("Alien", True), ("Alien", True)]]
    assert distinct_rows(encoded(model, twice)).repeats
    once = distinct_rows(encoded(model, [[("Heat", True), ("Heat", False)], [("Heat", True)]]))
    assert not once.repeats
    assert once.saves(1), "one of the two is known"


def test_kept_states_are_not_computed_again_until_something_below_the_head_changes():
    model, kept, computed = model_of(), KeptStates(), []
    first = encoded(model, [[("Heat", True), ("Alien", True)]])
    more = encoded(model, [[("Alien", True), ("a film", True), ("Heat", True)]])
    by_rows(model, first, kept, computed.append)
    assert sum(computed) == 2
    answers = by_rows(model, more, kept, computed.append)
    assert sum(computed) == 3, "only the film is new"
    torch.testing.assert_close(numbers(answers), numbers(plain(model, more)), rtol=0, atol=1e-10)
    with torch.no_grad():
        model.tuning("t").markers().mul_(2.0)
    by_rows(model, more, kept, computed.append)
    assert sum(computed) == 3, "no row has a marker"
    with torch.no_grad():
        model.tuning("t").prompts().mul_(2.0)
    answers = by_rows(model, more, kept, computed.append)
    assert sum(computed) == 6
    torch.testing.assert_close(numbers(answers), numbers(plain(model, more)), rtol=0, atol=1e-10)


def test_another_order_of_answers_is_refused():
    model = model_of()
    samples = encoded(model, [[("Heat", True)], [("Heat", True)]])
    object.__setattr__(model._tasks["t"], "decode", lambda *given: decode(*given)[::-1])
    with pytest.raises(RegistryError, match="keep the order"):
        by_rows(model, samples)
