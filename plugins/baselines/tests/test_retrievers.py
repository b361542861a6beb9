"""The retrieval baselines on cycles, where the next item is certain, and the parts they are made of."""

from __future__ import annotations

import dataclasses
from importlib.metadata import entry_points

import numpy as np
import pytest
import torch
from m6rec_plugin_baselines.early_stopping import StopRule, train_to_best
from m6rec_plugin_baselines.next_item import IdVectors, MeanReader, NextItemNetwork, TransformerReader
from m6rec_plugin_baselines.retrievers import (
    SASREC_BCE,
    SASREC_CE,
    TWIN_TEXT,
    TWIN_TEXT_TRANSFORMER,
    YOUTUBE_DNN,
    FittedNetwork,
    NextItemRetriever,
)
from m6rec_plugin_baselines.sequences import pad, training_batches, windows
from m6rec_plugin_baselines.words import UNKNOWN, item_words
from torch import nn

from m6rec_core.baselines import RetrievalData, RetrievalRows, Retriever
from m6rec_core.baselines.full_ranking import full_ranking
from m6rec_core.types import Item

CYCLE = 30
"""Items; item i is described by i mod 5 and i mod 6, so words tell all of them apart and none has a word of its own."""

ITEMS = tuple(Item(item_id=str(i), fields={"title": f"five{i % 5} six{i % 6}"}) for i in range(CYCLE))
ALL = (SASREC_CE, SASREC_BCE, YOUTUBE_DNN, TWIN_TEXT, TWIN_TEXT_TRANSFORMER)


def _cycles(
    unseen: tuple[int, ...] = (), users: int = 100, length: int = 8
) -> tuple[RetrievalData, RetrievalRows, RetrievalRows]:
    """Users who walk round the cycle from a random place."""
    starts = np.random.default_rng(0).integers(0, CYCLE, users)
    walks = [((start + np.arange(length)) % CYCLE).astype(np.int64) for start in starts]
    mask = np.zeros(CYCLE, dtype=bool)
    mask[list(unseen)] = True
    data = RetrievalData(ITEMS, tuple(walk[:-2][~mask[walk[:-2]]] for walk in walks), mask)
    parts = [
        RetrievalRows(tuple(tuple(walk[:-back].tolist()) for walk in walks), np.array([w[-back] for w in walks]))
        for back in (2, 1)
    ]
    return data, parts[0], parts[1]


def _small(model: NextItemRetriever, epochs: int = 16) -> NextItemRetriever:
    """Quick settings. Three events are read: their mean still tells where on the cycle they are."""
    small = dataclasses.replace(
        model.settings, width=32, batch=20, epochs=epochs, lr=1e-2, dropout=0.0, word_dropout=0.0,
        length=3, every_window=True,
    )  # fmt: skip
    return dataclasses.replace(model, settings=small)


@pytest.mark.parametrize("model", ALL, ids=lambda model: model.name)
def test_the_next_item_of_a_cycle_is_found(model: NextItemRetriever) -> None:
    data, valid, test = _cycles()
    fitted = _small(model).fit(data, valid, 0, lambda line: None)
    rank = full_ranking(fitted, test).rank
    assert (rank == 1).mean() > 0.9


def test_same_seed_same_scores_and_the_global_state_is_left() -> None:
    data, valid, test = _cycles(users=40)
    model = dataclasses.replace(SASREC_BCE, settings=dataclasses.replace(_small(SASREC_BCE, 2).settings, dropout=0.3))
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    first, again, other = (model.fit(data, valid, seed, lambda line: None) for seed in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert (first.scores(test.histories) == again.scores(test.histories)).all()
    assert (first.scores(test.histories) != other.scores(test.histories)).any()


def test_ids_do_not_score_unseen_items_and_words_tell_them_apart() -> None:
    random = np.random.default_rng(0)
    genres = ("war", "love", "crime")
    items = tuple(Item(item_id=str(code), fields={"genre": genres[code % 3]}) for code in range(CYCLE))
    unseen = np.arange(CYCLE) < 3
    tastes = random.integers(0, 3, 90)
    lines = [3 * random.permutation(np.arange(1, CYCLE // 3))[:6] + taste for taste in tastes]
    data = RetrievalData(items, tuple(line[:-1].astype(np.int64) for line in lines), unseen)
    valid = RetrievalRows(tuple(tuple(line[:-1].tolist()) for line in lines), np.array([line[-1] for line in lines]))
    held_out = RetrievalRows(valid.histories, tastes.astype(np.int64))
    ids = _small(SASREC_CE, 1).fit(data, valid, 0, lambda line: None)
    assert np.isneginf(ids.scores(valid.histories)[:, unseen]).all()
    assert (full_ranking(ids, held_out).rank == CYCLE - 5).all()  # last of all but the history
    words = _small(TWIN_TEXT, 20).fit(data, valid, 0, lambda line: None)
    assert np.isfinite(words.scores(valid.histories)).all()
    assert (full_ranking(words, held_out, among=unseen).rank == 1).mean() > 0.9


def test_a_history_is_scored_alike_alone_and_among_others() -> None:
    data, valid, _test = _cycles(users=40)
    fitted = _small(SASREC_CE, 1).fit(data, valid, 0, lambda line: None)
    histories = [(1, 2, 3), tuple(range(25)), ()]
    together = fitted.scores(histories)
    for row, history in enumerate(histories):
        np.testing.assert_allclose(fitted.scores([history])[0], together[row], atol=1e-5)
    assert together[2].tolist() == data.counts().tolist()
    np.testing.assert_allclose(together[1], fitted.scores([tuple(range(22, 25))])[0], atol=1e-5)


def test_nothing_to_learn_from_falls_back_to_popularity() -> None:
    data = RetrievalData(ITEMS, (np.array([3], dtype=np.int64),), np.zeros(CYCLE, dtype=bool))
    fitted = _small(SASREC_CE).fit(data, RetrievalRows((), np.zeros(0, dtype=np.int64)), 0, lambda line: None)
    assert fitted.info["epochs"] == 0
    assert fitted.scores([()]).argmax() == 3


@pytest.mark.parametrize("reader", [TransformerReader(8, 12, 2, 2, 0.0), MeanReader(8, 3, 0.0)])
def test_readers_see_no_later_event(reader: nn.Module) -> None:
    events = torch.randn(2, 6, 8)
    changed = events.clone()
    changed[:, 4:] = torch.randn(2, 2, 8)
    length = torch.tensor([6, 6])
    torch.testing.assert_close(reader(events, length)[:, :4], reader(changed, length)[:, :4])
    assert not torch.allclose(reader(events, length)[:, 4:], reader(changed, length)[:, 4:])


def test_the_mean_reader_forgets_what_left_its_window() -> None:
    reader = MeanReader(8, 3, 0.0)
    events = torch.randn(1, 7, 8)
    changed = events.clone()
    changed[:, :3] += 1.0
    length = torch.tensor([7])
    torch.testing.assert_close(reader(events, length)[:, 5:], reader(changed, length)[:, 5:], atol=1e-5, rtol=1e-4)


def test_windows_cover_every_target_once() -> None:
    line = np.arange(11)
    assert [one.tolist() for one in windows([line], 4, False)] == [[6, 7, 8, 9, 10]]
    assert sorted(code for one in windows([line], 4, True) for code in one[1:]) == list(range(1, 11))
    assert windows([line[:1], line[:0]], 4, True) == []


def test_batches_hold_every_window_once() -> None:
    found = [np.arange(start, start + size) for start, size in ((0, 3), (10, 5), (20, 2), (30, 4), (40, 3))]
    seen = []
    for batch in training_batches(found, 2, np.random.default_rng(1)):
        for row, size in enumerate(batch.inputs.length.tolist()):
            seen.append([*batch.inputs.codes[row, :size].tolist(), int(batch.target[row, size - 1])])
    assert sorted(seen) == [one.tolist() for one in found]
    assert pad([np.zeros(0, dtype=np.int64)]).length.tolist() == [1]


def test_early_stopping_restores_the_best_weights() -> None:
    network = NextItemNetwork(IdVectors(2, 2), nn.Identity())
    values = iter([0.1, 0.5, 0.4, 0.3, 0.9])
    lines: list[str] = []

    def epoch(number: int) -> float:
        with torch.no_grad():
            network.items.table.fill_(float(number))  # type: ignore[union-attr, operator]
        return 1.0

    fit = train_to_best(network, epoch, lambda: next(values), StopRule(epochs=9, patience=2), lines.append)
    assert (fit.best, fit.best_epoch, fit.epochs, fit.stopped) == (0.5, 2, 4, "patience")
    assert network.item_vectors()[0].unique().tolist() == [2.0]
    assert lines[1].startswith("epoch 2: loss 1.0000, valid NDCG@10 0.5000")
    cut = train_to_best(network, epoch, None, StopRule(epochs=3, patience=1), lines.append)
    assert (cut.epochs, cut.best_epoch, cut.stopped) == (3, 0, "epochs")
    assert network.item_vectors()[0].unique().tolist() == [3.0]


def test_words_of_one_item_are_no_vocabulary() -> None:
    words = item_words(["Blue film, 1990", "blue 1990", "green", "green green"], np.array([True, True, True, False]))
    assert words.vocabulary == ("1990", "blue")
    assert words.offsets.tolist() == [0, 2, 4, 5]
    assert words.ids.tolist() == [2, 1, 2, 1, UNKNOWN, UNKNOWN]


def test_pretrained_word_vectors_are_the_start() -> None:
    data, valid, _test = _cycles(users=40)
    table = {f"five{i}": [float(i), 1.0, 0.0] for i in range(5)}
    model = dataclasses.replace(_small(TWIN_TEXT, 1), word_vectors=table)
    fitted = model.fit(data, valid, 0, lambda line: None)
    assert isinstance(fitted, FittedNetwork)
    assert fitted.network.items.words.shape == (12, 3)  # type: ignore[union-attr]


def test_entry_points_are_retrievers() -> None:
    found = {one.name: one.load() for one in entry_points(group="m6rec.retrievers")}
    assert {model.name for model in ALL} <= set(found)
    assert all(isinstance(one, Retriever) and one.name == name for name, one in found.items())
