"""Full ranking against a sort by hand; ties stand against the model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from m6rec_core.baselines.full_ranking import full_ranking
from m6rec_core.baselines.retrieval import NOT_SCORED, Facts, FixedScores, Float32Array, RetrievalRows


@dataclass
class Given:
    """Scores written out, looked up by the first item of the history."""

    table: Float32Array
    info: Facts = field(default_factory=dict)

    def scores(self, histories: Sequence[Sequence[int]]) -> Float32Array:
        return self.table[[one[0] for one in histories]]


@given(st.integers(5, 12), st.integers(0, 5), st.integers(0, 10_000), st.booleans())
def test_equal_to_sorting_by_hand(items: int, top: int, seed: int, exclude: bool) -> None:
    random = np.random.default_rng(seed)
    table = random.integers(0, 4, (items, items)).astype(np.float32)
    histories = tuple(tuple(random.integers(0, items, 3).tolist()) for _ in range(7))
    rows = RetrievalRows(histories, random.integers(0, items, 7))
    found = full_ranking(Given(table), rows, top, exclude)
    for row, (history, target) in enumerate(zip(histories, rows.targets.tolist(), strict=True)):
        score = {code: float(table[history[0], code]) for code in range(items)}
        gone = {code for code in history if exclude and code != target}
        before = [code for code in score if code not in gone and code != target and score[code] >= score[target]]
        assert found.rank[row] == len(before) + 1
        order = sorted(score, key=lambda code: (-score[code], code))
        kept = [code for code in order if code not in gone][:top]
        assert found.top[row].tolist() == kept + [-1] * (top - len(kept))


def test_constant_and_missing_scores_find_nothing() -> None:
    rows = RetrievalRows(((0,), (1,)), np.array([2, 3]))
    constant = FixedScores(np.zeros(4, dtype=np.float32))
    assert full_ranking(constant, rows, 1, exclude_history=False).rank.tolist() == [4, 4]
    scores = FixedScores(np.array([1.0, 2.0, NOT_SCORED, 0.0], dtype=np.float32))
    assert full_ranking(scores, rows, 1, exclude_history=False).rank.tolist() == [4, 3]
    assert full_ranking(scores, RetrievalRows((), np.zeros(0, dtype=np.int64))).top.shape == (0, 10)


def test_ranking_among_some_items_only() -> None:
    among = np.array([False, True, True, False])
    fitted = FixedScores(np.array([4.0, 3.0, 2.0, 1.0], dtype=np.float32))
    found = full_ranking(fitted, RetrievalRows(((0,),), np.array([2])), 2, among=among)
    assert found.rank.tolist() == [2]
    assert found.top.tolist() == [[1, 2]]
