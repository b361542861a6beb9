"""Rows of retrieval, zero-shot and ctr in one batch give what each gives alone (design 9.3), in float64."""

from __future__ import annotations

import pytest
import torch

from m6rec_core.model import M6Rec
from m6rec_core.testing.building import KIT_TUNING, build_tuned, encode_samples, one_batch, perturb
from m6rec_core.testing.tiny import tiny_backbone
from m6rec_core.text.domains import MOVIES
from m6rec_core.types import Event, Item


def film(number: int) -> Item:
    return Item(item_id=f"i{number}", fields={"title": f"Film {number}", "year": "1999", "genres": "Drama"})


@pytest.mark.parametrize("attention", ["causal", "prefix"])
def test_alone_and_together(attention: str) -> None:
    ctr = pytest.importorskip("m6rec_plugin_ctr.plugin")
    retrieval = pytest.importorskip("m6rec_plugin_retrieval.plugin")
    zeroshot = pytest.importorskip("m6rec_plugin_zeroshot.plugin")
    backbone = tiny_backbone(attention=attention)
    history = [
        tuple(Event(item=film(k), kind="rating", timestamp=1.0, liked=True) for k in range(n)) for n in (1, 2, 3)
    ]
    made = {
        "ctr": [
            ctr.MANIFEST.sample(id=str(n), user_id="u", history=one, candidate=film(9 + n), timestamp=9.0, label=n == 1)
            for n, one in enumerate(history)
        ],
        "retrieval": [
            retrieval.MANIFEST.sample(id=str(n), user_id=f"u{n}", history=one, candidate=film(9 + n))
            for n, one in enumerate(history)
        ],
        "zeroshot": [
            zeroshot.MANIFEST.sample(id=str(n), context=("Babe", "Heat")[:n], choices=("Alien", "Speed"), label=n - 1)
            for n in (1, 2)
        ],
    }
    plugins = {"ctr": ctr, "retrieval": retrieval, "zeroshot": zeroshot}
    tuned = {}
    for seed, (name, plugin) in enumerate(plugins.items()):
        user = {"user": "text", "markers": True} if attention == "prefix" else {"user": "events", "width": 16}
        more = {"ctr": {"calibration": False}, "retrieval": user, "zeroshot": {"normalise": "prior"}}[name]
        config = plugin.MANIFEST.config(domain=MOVIES, **more)
        tuned[name] = perturb(build_tuned(plugin, config, backbone, KIT_TUNING, seed), seed)
    model = M6Rec(backbone, tuned).eval()
    encoded = {name: encode_samples(name, tuned[name], samples, backbone) for name, samples in made.items()}
    mixed = one_batch([*encoded["zeroshot"], *encoded["ctr"], *encoded["retrieval"]], backbone, merged=True)
    together, losses = model.predict(mixed), model(mixed)
    for name, samples in encoded.items():
        alone = one_batch(samples, backbone)
        torch.testing.assert_close(losses[name], model(alone)[name], rtol=0, atol=1e-10)
        for a, b in zip(together[name], model.predict(alone)[name], strict=True):
            left, right = ([*v] if isinstance(v, tuple) else [v] for v in (_numbers(a), _numbers(b)))
            assert left == pytest.approx(right, abs=1e-10)


def _numbers(prediction: object) -> object:
    return next(getattr(prediction, name) for name in ("vector", "scores", "score") if hasattr(prediction, name))
