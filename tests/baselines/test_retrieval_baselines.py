"""What retrievers are given is checked; the trivial ones count and draw, nothing more."""

from __future__ import annotations

import numpy as np
import pytest

from m6rec_core.baselines.retrieval import (
    NOT_SCORED,
    TRIVIAL_RETRIEVERS,
    Popularity,
    Random,
    RetrievalData,
    RetrievalRows,
    Retriever,
)
from m6rec_core.errors import DataError
from m6rec_core.types import Item

ITEMS = tuple(Item(item_id=str(code), fields={"title": f"Film {code}", "year": "1990"}) for code in range(4))
NONE = np.zeros(4, dtype=bool)
ROWS = RetrievalRows(((0, 1), (2,)), np.array([2, 0]))


def _data(*train: list[int], unseen: np.ndarray = NONE) -> RetrievalData:
    return RetrievalData(ITEMS, tuple(np.array(one, dtype=np.int64) for one in train), unseen)


def test_popularity_counts_training_events() -> None:
    unseen = np.array([False, False, False, True])
    fitted = Popularity().fit(_data([0, 1], [1, 1, 2], [], unseen=unseen), ROWS, 0, print)
    scores = fitted.scores([(0,), ()])
    assert scores.dtype == np.float32
    assert scores.tolist() == [[1.0, 3.0, 1.0, NOT_SCORED]] * 2


def test_random_depends_on_seed_and_history_alone() -> None:
    fitted = Random().fit(_data([0]), ROWS, 3, print)
    together, alone = fitted.scores([(0, 1), (2,)]), fitted.scores([(2,)])
    assert together.shape == (2, 4)
    assert (together[1] == alone[0]).all()
    assert (Random().fit(_data([0]), ROWS, 4, print).scores([(2,)]) != alone).all()
    assert fitted.scores([]).shape == (0, 4)
    assert all(isinstance(one, Retriever) for one in TRIVIAL_RETRIEVERS)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(DataError, match="unseen item"):
        _data([3], unseen=np.array([False, False, False, True]))
    with pytest.raises(DataError, match="outside 0 to 3"):
        _data([4])
    with pytest.raises(DataError, match="shape"):
        _data([0], unseen=np.zeros(2, dtype=bool))
    with pytest.raises(DataError, match="1 texts, 4 items"):
        RetrievalData(ITEMS, (), NONE, texts=("a",))
    with pytest.raises(DataError, match="empty"):
        RetrievalData((), (), np.zeros(0, dtype=bool))
    with pytest.raises(DataError, match="1 histories, 2 targets"):
        RetrievalRows(((0,),), np.array([1, 2]))


def test_rows_can_be_chosen_and_texts_fall_back_to_fields() -> None:
    assert ROWS.where(np.array([False, True])).histories == ((2,),)
    assert len(ROWS) == 2
    assert _data([0]).item_texts()[1] == "Film 1, 1990"
    assert RetrievalData(ITEMS, (), NONE, texts=tuple("abcd")).item_texts() == tuple("abcd")
