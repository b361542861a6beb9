"""Scores come in the order of the data; a sample that is lost, doubled or swapped is noticed."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from m6rec_plugin_ctr import plugin
from m6rec_plugin_ctr.sample import CtrSample
from m6rec_plugin_ctr.settings import CtrConfig

from m6rec_core.errors import RegistryError, RunError
from m6rec_core.model import M6Rec
from m6rec_core.serving.scoring import in_order, own_packs, predict_packs, score_packs
from m6rec_core.testing import tiny_backbone
from m6rec_core.testing.building import build_tuned, encode_samples, perturb
from m6rec_core.text.domains import MOVIES
from m6rec_core.tokens.batching import plan_packs
from m6rec_core.types import Item, Prediction


class Alone:
    """What scoring uses of an Accelerator; `extra` stands for the samples of other ranks."""

    def __init__(self, rank: int = 0, ranks: int = 1, extra: int = 0) -> None:
        self.process_index, self.num_processes, self.device = rank, ranks, torch.device("cpu")
        self._extra = extra

    def gather(self, tensor):
        return torch.cat([tensor, torch.tensor([self._extra])])


@pytest.fixture
def scored():
    backbone = tiny_backbone()
    config = CtrConfig(domain=MOVIES, calibration=False)
    tuned = perturb(build_tuned(plugin, config, backbone), 1)
    samples = [
        CtrSample(
            id=str(n), user_id="u", candidate=Item(item_id=str(n), fields={"title": f"Film {n * 7}"}), timestamp=n
        )
        for n in range(9)
    ]
    packs = plan_packs(encode_samples("ctr", tuned, samples, backbone), 20)
    return M6Rec(backbone, {"ctr": tuned}), packs


def test_the_order_is_that_of_the_data_whatever_the_packs(scored):
    model, packs = scored
    assert len(packs) > 2
    ticks: list[int] = []
    whole = score_packs(model, "ctr", packs, ["score", "text_score"], Alone(), tick=ticks.append)
    assert whole.shape == (9, 2)
    assert sum(ticks) == 9
    again = score_packs(model, "ctr", packs[::-1], ["score", "text_score"], Alone(), packs_per_forward=2)
    assert again == pytest.approx(whole, abs=1e-9)


def test_ranks_share_the_packs(scored):
    _, packs = scored
    shares = [own_packs(packs, Alone(rank, 2)) for rank in range(2)]
    assert sum(map(len, shares)) == len(packs)
    assert sum(pack.samples for share in shares for pack in share) == 9


def test_a_row_scored_twice_is_noticed(scored):
    model, packs = scored
    with pytest.raises(RunError, match="12 predictions for 9 rows"):
        score_packs(model, "ctr", packs, ["score"], Alone(extra=3))


def test_answers_in_another_order_are_noticed(scored):
    model, packs = scored
    task = SimpleNamespace(decode=lambda head, view, generate: [Prediction(id=s.id) for s in view.samples[::-1]])
    model._tasks = {"ctr": task}
    with pytest.raises(RegistryError, match=r"answered sample .* keep the order of view\.samples"):
        list(predict_packs(model, "ctr", packs, torch.device("cpu")))


def test_a_missing_prediction_is_noticed():
    assert [p.id for p in in_order({1: Prediction(id="b"), 0: Prediction(id="a")}, 2)] == ["a", "b"]
    with pytest.raises(RunError, match="1 of 2 samples have no prediction, the first is sample 0"):
        in_order({1: Prediction(id="b")}, 2)
