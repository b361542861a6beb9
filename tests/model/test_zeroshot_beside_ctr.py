"""Rows of the zero-shot task and of CTR in one batch give what they give alone."""

from __future__ import annotations

import pytest

from m6rec_core.config import TuningConfig
from m6rec_core.model import M6Rec
from m6rec_core.testing import build_tuned, encode_samples, one_batch, tiny_backbone
from m6rec_core.testing.building import perturb
from m6rec_core.text.domains import MOVIES
from m6rec_core.types import Event, Item


def test_mixed_rows_equal_the_same_rows_alone():
    ctr = pytest.importorskip("m6rec_plugin_ctr.plugin")
    zeroshot = pytest.importorskip("m6rec_plugin_zeroshot.plugin")
    backbone = tiny_backbone(layers=2)
    film = Item(item_id="1", fields={"title": "Heat"})
    clicks = [
        ctr.CtrSample(id=f"c{n}", user_id="u", candidate=film, timestamp=9.0 + n, label=n == 0,
                      history=(Event(item=film, kind="rating", timestamp=1.0, liked=n == 1),))
        for n in range(2)
    ]  # fmt: skip
    choices = [
        zeroshot.ChoiceSample(id=f"z{n}", context=("Babe", "Heat")[: n + 1], choices=("Alien", "Speed"), label=n)
        for n in range(2)
    ]
    tuned = {
        "ctr": build_tuned(ctr, ctr.CtrConfig(domain=MOVIES, calibration=False), backbone),
        "zeroshot": build_tuned(
            zeroshot, zeroshot.ZeroshotConfig(domain=MOVIES), backbone, TuningConfig(mode="adapter", budget=0.9)
        ),
    }
    for seed, one in enumerate(tuned.values()):
        perturb(one, seed)
    model = M6Rec(backbone, tuned).eval()
    encoded = {n: encode_samples(n, tuned[n], s, backbone) for n, s in (("ctr", clicks), ("zeroshot", choices))}
    together = one_batch([*encoded["ctr"], *encoded["zeroshot"]], backbone, merged=True)
    mixed, losses = model.predict(together), model(together)
    for name, samples in encoded.items():
        alone = one_batch(samples, backbone)
        for left, right in zip(mixed[name], model.predict(alone)[name], strict=True):
            assert left.id == right.id
            scores = [p.scores if name == "zeroshot" else (p.score,) for p in (left, right)]
            assert scores[0] == pytest.approx(scores[1], abs=1e-9)
        assert losses[name].tolist() == pytest.approx(model(alone)[name].tolist(), abs=1e-9)
