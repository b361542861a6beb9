"""A student of the first layers is the backbone cut short, with its pack's budget, and shares no batch with others."""

from __future__ import annotations

import copy
from dataclasses import replace

import late_rows as kit
import pytest
import torch

from m6rec_core.config import TuningConfig
from m6rec_core.errors import ConfigError, M6RecError
from m6rec_core.model import M6Rec, TunedTask
from m6rec_core.testing import build_tuned, encode_samples, one_batch, tiny_backbone
from m6rec_core.testing.building import perturb
from m6rec_core.tuning.budget import plan

STUDENT = TuningConfig(budget=0.9, prompts=3, student_layers=2)


@pytest.mark.parametrize("late", [0, 1])
@torch.no_grad()
def test_a_student_is_the_backbone_cut_short(late):
    backbone = tiny_backbone()
    tuned = perturb(build_tuned(kit.TASK, kit.SETTINGS, backbone, STUDENT.model_copy(update={"late_layers": late})), 1)
    assert tuned.tuning.below(backbone.spec.layers) == late  # 2 layers, of which the lower one reads segments
    assert list(tuned.tuning.adapters.layers) == (["1"] if late else ["0", "1"])
    short = copy.deepcopy(backbone)
    short.decoder.model.layers = short.decoder.model.layers[:2]
    short.spec = replace(backbone.spec, layers=2)
    tuned_short = copy.deepcopy(tuned.tuning)
    tuned_short.student_layers = 0
    student = M6Rec(backbone, {"lines": tuned}).eval()
    whole = M6Rec(short, {"lines": TunedTask(kit.TASK, kit.SETTINGS, tuned_short, tuned.head)}).eval()
    batch = one_batch(encode_samples("lines", tuned, kit.fixed_samples(), backbone), backbone, merged=True)
    found, expected = student.views(batch)["lines"], whole.views(batch)["lines"]
    torch.testing.assert_close(found.hidden, expected.hidden, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(found.scored.hidden, expected.scored.hidden, rtol=1e-12, atol=1e-12)


def test_adapters_of_a_student_lie_in_its_layers():
    spec = tiny_backbone().spec
    first = {asked: plan(STUDENT.model_copy(update={"adapter_layers": asked}), spec, 4, 2, 0).first_adapter_layer
             for asked in ("all", 1, None)}  # fmt: skip
    assert first == {"all": 0, 1: 1, None: 0}
    for wrong in ({"adapter_layers": 3}, {"student_layers": 4}):
        with pytest.raises(ConfigError, match="set it to at most"):
            plan(STUDENT.model_copy(update=wrong), spec, 4, 2, 0)


def test_a_student_shares_no_batch_with_the_whole_backbone_and_writes_nothing():
    backbone = tiny_backbone()
    tasks = {
        name: build_tuned(kit.TASK, kit.SETTINGS, backbone, STUDENT.model_copy(update={"student_layers": depth}))
        for name, depth in (("lines", 2), ("other", 0))
    }
    model = M6Rec(backbone, tasks, lambda _model, _name: pytest.fail("it was asked to write"))
    rows = [one for name, tuned in tasks.items() for one in encode_samples(name, tuned, kit.fixed_samples(1), backbone)]
    with pytest.raises(M6RecError, match="2 and 3 layers cannot share"):
        model.views(one_batch(rows, backbone))
    with pytest.raises(M6RecError, match="late_layers 0"):
        model.generate("lines")([], 3)
