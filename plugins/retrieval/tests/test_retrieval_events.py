"""Users as sequences: what the encoder reads, what it is fitted to, and what never reaches it."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from m6rec_plugin_retrieval.derive import derive, split_logs
from m6rec_plugin_retrieval.event_encoder import EventEncoder
from m6rec_plugin_retrieval.event_fit import FitPlan, fit_events, user_sequences
from m6rec_plugin_retrieval.head import EventsHead, RetrievalHead
from m6rec_plugin_retrieval.plugin import MANIFEST, build_head
from m6rec_plugin_retrieval.sample import RetrievalSample, item_sample, user_sample
from m6rec_plugin_retrieval.serialize import serialize
from m6rec_plugin_retrieval.settings import RetrievalConfig

from m6rec_core.config import HistoryRule, TuningConfig
from m6rec_core.errors import DataError
from m6rec_core.logs import read_logs
from m6rec_core.text.domains import MOVIES
from m6rec_core.tuning.budget import plan
from m6rec_core.types import BackboneSpec, Event, Item, RowStates

SPEC = BackboneSpec("tiny", "x", 12, 2, 50, 100, "causal")
CONFIG = RetrievalConfig(domain=MOVIES, width=8)
NOW = 1_600_000_000.0
SILENT = lambda _line: None  # noqa: E731


def film(number: int) -> Item:
    return Item(item_id=f"i{number}", fields={"title": f"Film {number}", "year": str(1980 + number)})


def pair(user: int, history: list[int], candidate: int, negatives: tuple[Item, ...] = ()) -> RetrievalSample:
    events = tuple(Event(item=film(number), kind="rating", timestamp=NOW) for number in history)
    return RetrievalSample(
        id=f"u{user}:{len(history)}", user_id=f"u{user}", history=events, candidate=film(candidate), negatives=negatives
    )


def encoder_of(positions=6, seed=0):
    torch.manual_seed(seed)
    return EventEncoder(12, 8, positions, 0.07, known=8).double()


def remembered(encoder, states):
    components = encoder.components(states)
    return components, encoder.memory(components)


def events_of(encoder, states):
    return encoder.events(*remembered(encoder, states))[None]


def states_of(count, seed=0):
    return torch.randn(count, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_the_default_is_events_and_each_kind_of_user_has_its_history():
    assert CONFIG.user == "events"
    assert CONFIG.longest == 50
    assert RetrievalConfig(domain=MOVIES, user="text").sampling.history == HistoryRule(events=10, stride=10)
    asked = RetrievalConfig.model_validate({"domain": MOVIES, "user": "text", "sampling": {"history": {"events": 3}}})
    assert asked.sampling.history.events == 3
    assert isinstance(build_head(CONFIG, SPEC), EventsHead)
    assert isinstance(build_head(RetrievalConfig(domain=MOVIES, user="text"), SPEC), RetrievalHead)


def test_an_event_is_the_row_of_its_item():
    sample = pair(1, [0, 3, 0], 6)
    rows = serialize(sample, CONFIG).rows
    alone = [serialize(item_sample(film(n)), CONFIG).rows[0] for n in (0, 3, 0, 6)]
    assert list(rows) == alone
    assert serialize(user_sample(sample), CONFIG).rows == rows[:-1]
    short = CONFIG.model_copy(
        update={"sampling": CONFIG.sampling.model_copy(update={"history": HistoryRule(events=2)})}
    )
    assert serialize(sample, short).rows == rows[1:], "the latest events"


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 8), min_size=1, max_size=5))
def test_users_do_not_depend_on_each_other_or_on_padding(lengths):
    encoder, count = encoder_of(), torch.tensor(lengths)
    states, first = states_of(sum(lengths)), torch.tensor(lengths).cumsum(0) - torch.tensor(lengths)
    together = encoder.users(states, first, count)
    for n, (start, length) in enumerate(zip(first.tolist(), lengths, strict=True)):
        rows = states[start : start + length]
        alone = encoder.users(rows, torch.tensor([0]), torch.tensor([length]))
        torch.testing.assert_close(together[n], alone[0], rtol=0, atol=1e-12)
        latest = rows[-encoder.positions :]
        whole = encoder.sequences(events_of(encoder, latest))[0, -1]
        torch.testing.assert_close(together[n], whole, rtol=0, atol=1e-12)
    assert torch.allclose(together.norm(dim=1), torch.ones(len(lengths), dtype=torch.float64))


def test_the_encoder_is_causal():
    encoder, states = encoder_of(), states_of(6)
    before = encoder.sequences(events_of(encoder, states))
    states[4] += 1.0
    after = encoder.sequences(events_of(encoder, states))
    assert torch.equal(before[0, :4], after[0, :4])
    assert not torch.allclose(before[0, 4], after[0, 4])


def test_whitened_components_have_variance_one_and_no_correlation():
    encoder, states = encoder_of(), 3.0 * states_of(200) + 7.0
    states[:, 5] = 2.0 * states[:, 4]  # one direction fewer than numbers
    encoder.whiten(states)
    found = encoder.components(states)
    torch.testing.assert_close(found.mean(0), torch.zeros(12, dtype=torch.float64), rtol=0, atol=1e-5)
    expected = torch.eye(12, dtype=torch.float64)
    expected[11, 11] = 0.0
    torch.testing.assert_close(found.T @ found / 200, expected, rtol=0, atol=1e-4)


def cycle(users=40, length=7, texts=12):
    """Every user walks up the numbers: the next text follows from the last."""
    return [torch.arange(start, start + length) % texts for start in range(users)]


def test_the_fit_learns_what_follows_and_is_the_same_every_time():
    states, told, found = states_of(12), [], []
    for _ in range(2):
        encoder = encoder_of()
        fit_events(encoder, cycle(), states, FitPlan(200, 0.0, 0.3, 3), told.append)
        found.append({name: value.clone() for name, value in encoder.state_dict().items()})
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])
    assert len(told) == 400
    assert "epoch 200 of 200" in told[-1]
    users = encoder.users(states, torch.tensor([0, 3]), torch.tensor([3, 3]))
    items = encoder.items(*remembered(encoder, states))
    assert (users @ items.T).argmax(1).tolist() == [3, 6]
    assert all(not value.requires_grad or value.grad is None for value in encoder.parameters())
    with pytest.raises(DataError, match="at least 2"):
        fit_events(encoder, cycle(1), states, FitPlan(1, 0.0, 0.3, 0), SILENT)


def test_known_texts_are_found_again_and_others_are_not():
    encoder, states = encoder_of(), states_of(12)
    fit_events(encoder, cycle(), states, FitPlan(3, 0.0, 0.0, 0), SILENT)
    components, found = remembered(encoder, states)
    place, known = encoder.memory.places(components)
    assert int(known.sum()) == len(encoder.memory.vectors) == 8, "the most frequent of 12 texts"
    assert len(set(place[known].tolist())) == 8
    assert torch.equal(found[~known], torch.zeros(4, 8, dtype=torch.float64))
    assert bool((found[known].abs().sum(1) > 0).all())
    near, far = components + 1e-4, components + 1.0
    torch.testing.assert_close(encoder.memory(near), found, rtol=0, atol=0)
    assert not encoder.memory.places(far)[1].any()


def test_the_memory_holds_the_most_frequent_texts():
    encoder, states = encoder_of(), states_of(12)
    sequences = [
        torch.tensor([0, 1, 2, 3]),
        torch.tensor([4, 5, 6, 7]),
        torch.tensor([8, 9, 10, 11]),
        torch.arange(3, 11),
    ]
    fit_events(encoder, sequences, states, FitPlan(1, 0.0, 0.0, 0), SILENT)
    known = encoder.memory.places(encoder.components(states))[1]
    assert known[3:11].tolist() == [True] * 8


def test_an_encoder_without_a_memory_is_a_map_of_text():
    torch.manual_seed(0)
    encoder, states = EventEncoder(12, 8, 6, 0.07).double(), states_of(12)
    fit_events(encoder, cycle(), states, FitPlan(2, 0.0, 0.3, 0), SILENT)
    components, found = remembered(encoder, states)
    assert torch.equal(found, torch.zeros(12, 8, dtype=torch.float64))
    torch.testing.assert_close(encoder.items(components, found).norm(dim=1), torch.ones(12, dtype=torch.float64))


def test_what_is_remembered_fits_a_small_backbone():
    small = build_head(RetrievalConfig(domain=MOVIES, width=8), SPEC)
    assert len(small.encoder.memory.vectors) == int(0.005 * SPEC.parameters) // 8
    assert len(build_head(RetrievalConfig(domain=MOVIES, width=8, known_texts=5), SPEC).encoder.memory.vectors) == 5


def test_another_seed_drops_and_orders_otherwise():
    found = []
    for seed in (1, 2):
        encoder = encoder_of()
        fit_events(encoder, cycle(), states_of(12), FitPlan(2, 0.2, 0.3, seed), SILENT)
        found.append(encoder.incoming.weight.detach())
    assert not torch.equal(found[0], found[1])


def test_texts_outside_of_the_sequences_change_nothing():
    """The fit reads the texts of its sequences alone: another state of an unseen item makes no difference."""
    found = []
    for last in (0.0, 1e6):
        states = states_of(14)
        states[12:] = last
        encoder = encoder_of()
        fit_events(encoder, cycle(), states, FitPlan(3, 0.1, 0.3, 0), SILENT)
        found.append(encoder.state_dict())
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])


def test_items_held_out_are_in_no_training_sample(small):
    config = CONFIG.model_copy(update={"unseen_share": 0.3})
    logs = read_logs(small.logs)
    split = split_logs(logs, config, 0)
    unseen = {item.item_id for item, held in zip(split.items, split.unseen, strict=True) if held}
    parts = derive(logs, config, 0)
    users = [sample.user_id for sample in parts["train"]]
    assert len(users) == len(set(users)) > 10, "one sample shows a user's sequence"
    shown = {event.item.item_id for one in parts["train"] for event in one.history}
    shown |= {one.candidate.item_id for one in parts["train"]}
    assert unseen
    assert not unseen & shown


def test_sequences_are_the_longest_of_each_user():
    samples = [
        pair(1, [0], 3), pair(1, [0, 3], 6), pair(2, [1], 4, negatives=(film(9),)), pair(3, [5], 2),
    ]  # fmt: skip
    owner = [n for n, one in enumerate(samples) for _ in range(len(one.history) + 1 + len(one.negatives))]
    index = torch.arange(len(owner)) % 7
    states = RowStates(states_of(7), index, torch.tensor(owner))
    assert [one.tolist() for one in user_sequences(samples, states)] == [[2, 3, 4], [5, 6], [1, 2]]


def test_the_head_of_the_first_run_is_within_the_budget_of_the_backbone():
    spec = BackboneSpec("like smollm2-135m", "x", 576, 30, 49152, 134_515_008, "causal")
    head = build_head(RetrievalConfig(domain=MOVIES), spec)
    own = sum(parameter.numel() for parameter in head.parameters())
    sizes = plan(TuningConfig(prompts=0, adapter_layers=0), spec, 9, 0, own)
    assert own < sizes.parameters <= 1_345_150
    assert MANIFEST.quick["tuning.prompts"] == 0
