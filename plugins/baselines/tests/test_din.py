"""DIN learns what it should, and nothing else changes its answers."""

from __future__ import annotations

import dataclasses
from importlib.metadata import entry_points

import numpy as np
import pytest
import torch
from m6rec_plugin_baselines.din import BASELINE, WITH_STATISTICS, DinBaseline, DinSettings, score_rows
from m6rec_plugin_baselines.inputs import Drop, make_inputs
from m6rec_plugin_baselines.network import DeepInterestNetwork

from m6rec_core.baselines import NO_EVENT, UNKNOWN_OUTCOME, Baseline, BaselineData, BaselineResult
from m6rec_core.metrics import auc, log_loss

FAST = DinSettings(width=4, lr=2e-2, patience=3, max_checks=8)
DIN = DinBaseline(settings=FAST)
TRAIN, VALID, TEST = np.arange(800), np.arange(800, 1000), np.arange(1000, 1400)


def planted(rows: int = 1400, seed: int = 0) -> BaselineData:
    """A user likes the candidate when the history's last event of the same genre was liked. Two genres, 40 items."""
    generator = np.random.default_rng(seed)
    item = generator.integers(0, 40, rows)
    history = generator.integers(0, 40, (rows, 4))
    taste = generator.integers(0, 2, (rows, 2))
    outcome = np.take_along_axis(taste, history % 2, axis=1)
    history[:, 0] = NO_EVENT
    outcome[:, 0] = UNKNOWN_OUTCOME
    label = taste[np.arange(rows), item % 2].astype(np.float64)
    return BaselineData(
        label=label,
        statistics=np.concatenate(
            [generator.uniform(0.1, 0.9, (rows, 3)), np.ones((rows, 2)), np.zeros((rows, 1))], axis=1
        ),
        time=np.arange(rows, dtype=np.float64),
        user=generator.integers(0, 30, rows),
        item=item,
        history_item=history,
        history_outcome=outcome,
        user_fields={"gender": ("F", "M", "") * 10},
        item_fields={"genre": ("comedy", "drama") * 20, "title": tuple(f"film {x} of {x}" for x in range(40))},
    )


@pytest.fixture(scope="module")
def fitted() -> BaselineResult:
    return DIN.fit_predict(planted(), TRAIN, VALID, TEST, 0)


def test_learns_the_planted_pattern(fitted: BaselineResult) -> None:
    label = planted().label[TEST]
    assert auc(label, fitted.score) > 0.85
    assert log_loss(label, fitted.probability) < 0.5
    assert fitted.info["rows"] == 800
    assert float(fitted.info["best_epoch"]) <= float(fitted.info["epochs"])


def test_same_seed_same_answer_and_global_state_untouched(fitted: BaselineResult) -> None:
    torch.manual_seed(7)
    before = torch.random.get_rng_state()
    again = DIN.fit_predict(planted(), TRAIN, VALID, TEST, 0)
    assert torch.equal(before, torch.random.get_rng_state())
    assert np.array_equal(again.score, fitted.score)
    other = DIN.fit_predict(planted(), TRAIN, VALID, TEST, 1)
    assert not np.array_equal(other.score, fitted.score)


def test_test_labels_are_not_looked_at(fitted: BaselineResult) -> None:
    data = planted()
    label = data.label.copy()
    label[TEST] = 1 - label[TEST]
    blind = DIN.fit_predict(dataclasses.replace(data, label=label), TRAIN, VALID, TEST, 0)
    assert np.array_equal(blind.score, fitted.score)


def test_statistics_matter_only_to_the_variant_that_reads_them(fitted: BaselineResult) -> None:
    data = dataclasses.replace(planted(), statistics=np.full((1400, 6), 0.5))
    assert np.array_equal(DIN.fit_predict(data, TRAIN, VALID, TEST, 0).score, fitted.score)
    signal = planted()
    signal.statistics[:, 0] = np.where(signal.label == 1, 0.7, 0.3)
    found = dataclasses.replace(WITH_STATISTICS, settings=FAST).fit_predict(signal, TRAIN, VALID, TEST, 0)
    assert auc(signal.label[TEST], found.score) > 0.98


def network_for(data: BaselineData) -> tuple[DeepInterestNetwork, np.ndarray]:
    inputs = make_inputs(data, TRAIN, statistics=False)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = DeepInterestNetwork(inputs.sizes, width=8, outcome=4, dropout=0.5)
    for parameter in network.parameters():
        parameter.data.mul_(3.0)
    return network, score_rows(network, inputs, TEST)


def test_padding_does_not_matter() -> None:
    data = planted()
    wider = dataclasses.replace(
        data,
        history_item=np.insert(data.history_item, [0, 2, 4], NO_EVENT, axis=1),
        history_outcome=np.insert(data.history_outcome, [0, 2, 4], UNKNOWN_OUTCOME, axis=1),
    )
    _, plain = network_for(data)
    _, padded = network_for(wider)
    assert padded == pytest.approx(plain, abs=1e-5)
    assert plain.std() > 0


def test_rows_are_independent_of_their_batch() -> None:
    data = planted()
    network, together = network_for(data)
    inputs = make_inputs(data, TRAIN, statistics=False)
    alone = np.concatenate([score_rows(network, inputs, TEST[i : i + 1]) for i in range(20)])
    assert alone == pytest.approx(together[:20], abs=1e-5)
    assert score_rows(network, inputs, TEST[:0]).shape == (0,)


def test_unseen_ids_are_scored_alike_and_do_not_crash() -> None:
    data = planted()
    user, item = data.user.copy(), data.item.copy()
    user[TEST], item[TEST] = 1000, 2000
    plain = dataclasses.replace(data, user=user, item=item, user_fields={}, item_fields={})
    found = DIN.fit_predict(plain, TRAIN, VALID, TEST, 0)
    assert np.isfinite(found.score).all()
    same_history = np.flatnonzero((plain.history_item[TEST] == NO_EVENT).all(axis=1))
    assert same_history.size == 0
    empty = dataclasses.replace(
        plain, history_item=np.full((1400, 4), NO_EVENT), history_outcome=np.full((1400, 4), UNKNOWN_OUTCOME)
    )
    assert np.ptp(DIN.fit_predict(empty, TRAIN, VALID, TEST, 0).score) == pytest.approx(0.0, abs=1e-5)


def test_dropping_hides_ids_and_keeps_fields() -> None:
    inputs = make_inputs(planted(), TRAIN, statistics=False)
    rows = inputs.rows(torch.arange(50), Drop(user=1.0, item=1.0), torch.Generator())
    assert not rows.user.ids.any()
    assert not rows.candidate.ids.any()
    assert not rows.history.ids.any()
    assert torch.equal(rows.candidate.fields[0], inputs.rows(torch.arange(50)).candidate.fields[0])


@pytest.mark.parametrize("train", [0, 1, 2, 3, 33])
def test_few_rows_do_not_fail(train: int) -> None:
    quick = DinBaseline(settings=DinSettings(max_checks=1))
    found = quick.fit_predict(planted(), np.arange(train), VALID, TEST, 0)
    assert np.isfinite(found.score).all()
    assert ((found.probability >= 0) & (found.probability <= 1)).all()


@pytest.mark.parametrize("valid", [np.arange(0), np.arange(1)])
def test_without_usable_valid_rows_it_trains_three_epochs(valid: np.ndarray) -> None:
    found = DIN.fit_predict(planted(), TRAIN, valid, TEST, 0)
    assert "valid_auc" not in found.info
    assert float(found.info["epochs"]) == pytest.approx(3, abs=1)
    assert auc(planted().label[TEST], found.score) > 0.5


def test_no_history_at_all() -> None:
    data = dataclasses.replace(
        planted(), history_item=np.zeros((1400, 0), dtype=np.int64), history_outcome=np.zeros((1400, 0), dtype=np.int64)
    )
    assert np.isfinite(DIN.fit_predict(data, TRAIN, VALID, TEST, 0).score).all()


def test_both_keep_the_protocol() -> None:
    assert isinstance(BASELINE, Baseline)
    assert isinstance(WITH_STATISTICS, Baseline)
    assert (BASELINE.name, WITH_STATISTICS.name) == ("din", "din-statistics")


def test_entry_points_when_installed() -> None:
    found = {e.name: e for e in entry_points(group="m6rec.baselines") if e.value.startswith("m6rec_plugin_baselines.")}
    if not found:
        pytest.skip("the plugin is on the path but not installed")
    assert {name: entry.load().name for name, entry in found.items()} == {n: n for n in ("din", "din-statistics")}
