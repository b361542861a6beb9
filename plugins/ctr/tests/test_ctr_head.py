"""The calibration's start, its absence, and what the loss needs."""

from __future__ import annotations

import math

import pytest
import torch
from m6rec_plugin_ctr import plugin
from m6rec_plugin_ctr.settings import CtrConfig

from m6rec_core.config import TuningConfig
from m6rec_core.errors import DataError
from m6rec_core.model import M6Rec
from m6rec_core.testing import build_tuned, encode_samples, one_batch, tiny_backbone
from m6rec_core.text.domains import MOVIES
from m6rec_core.types import PreparedHead

BACKBONE = tiny_backbone(layers=1)


def tuned_with(config, prepare=(), **tuning):
    return build_tuned(plugin, config, BACKBONE, TuningConfig(budget=0.9, **tuning), prepare=prepare)


def run(tuned, samples):
    model = M6Rec(BACKBONE, {"ctr": tuned}).eval()
    batch = one_batch(encode_samples("ctr", tuned, samples, BACKBONE), BACKBONE)
    return model, batch


def test_prepare_starts_the_statistics_at_a_logistic_regression(samples):
    tuned = tuned_with(CtrConfig(domain=MOVIES), prepare=samples)
    assert isinstance(tuned.head, PreparedHead)
    assert float(tuned.head.calibration.weight.detach().abs().sum()) > 0
    again = tuned_with(CtrConfig(domain=MOVIES), prepare=samples)
    assert torch.equal(tuned.head.calibration.weight, again.head.calibration.weight)


@pytest.mark.parametrize("label", [True, False])
def test_prepare_needs_both_outcomes(samples, label):
    same = [s.model_copy(update={"label": label}) for s in samples]
    with pytest.raises(DataError, match=f"all 4 training samples have the label {label}.*both outcomes"):
        tuned_with(CtrConfig(domain=MOVIES), prepare=same)


def test_prepare_names_a_sample_without_label_or_statistic(samples):
    unlabelled = [samples[0], samples[1].model_copy(update={"label": None})]
    with pytest.raises(DataError, match="sample 7-1: no label"):
        tuned_with(CtrConfig(domain=MOVIES), prepare=unlabelled)
    bare = [samples[0], samples[1].model_copy(update={"statistics": {}})]
    with pytest.raises(DataError, match=r"statistics item_rate, user_rate, .* are missing"):
        tuned_with(CtrConfig(domain=MOVIES), prepare=bare)


def test_without_calibration_the_score_is_the_texts(samples):
    config = CtrConfig(domain=MOVIES, calibration=False)
    tuned = tuned_with(config, prepare=[s.model_copy(update={"statistics": {}, "label": None}) for s in samples])
    assert list(tuned.head.parameters()) == []
    model, batch = run(tuned, [s.model_copy(update={"statistics": {}}) for s in samples])
    for prediction in model.predict(batch)["ctr"]:
        assert 0 < prediction.score < 1
        assert prediction.score == prediction.text_score


def test_calibration_adds_the_statistics_to_the_weighted_text(samples):
    tuned = tuned_with(CtrConfig(domain=MOVIES, text_weight=0.0), prepare=samples)
    model, batch = run(tuned, samples)
    with torch.no_grad():
        tuned.head.calibration.bias.add_(1.0)
        raised = model.predict(batch)["ctr"]
        tuned.head.calibration.bias.sub_(1.0)
        before = model.predict(batch)["ctr"]
    for high, low in zip(raised, before, strict=True):
        assert math.log(high.score / (1 - high.score)) == pytest.approx(
            math.log(low.score / (1 - low.score)) + 1.0, abs=1e-6
        )
        assert high.text_score == low.text_score


def test_the_loss_is_the_cross_entropy_of_text_and_calibrated_margin(samples):
    tuned = tuned_with(CtrConfig(domain=MOVIES), prepare=samples)
    model, batch = run(tuned, samples)
    losses = model(batch)["ctr"].tolist()
    for sample, prediction, loss in zip(batch.tasks["ctr"].samples, model.predict(batch)["ctr"], losses, strict=True):
        parts = [p if sample.label else 1 - p for p in (prediction.score, prediction.text_score)]
        assert loss == pytest.approx(-sum(map(math.log, parts)), rel=1e-5)


def test_a_loss_needs_labels_and_a_prediction_does_not(samples):
    tuned = tuned_with(CtrConfig(domain=MOVIES))
    model, batch = run(tuned, [samples[0].model_copy(update={"label": None})])
    assert len(model.predict(batch)["ctr"]) == 1
    with pytest.raises(DataError, match="sample 7-0: no label"):
        model(batch)


def test_modes_without_soft_options_bring_a_classifier(samples):
    tuned = tuned_with(CtrConfig(domain=MOVIES), mode="prompt", prepare=samples)
    assert tuned.tuning.options() is None
    assert tuned.head.classifier.linear is not None
    model, batch = run(tuned, samples)
    assert all(0 < p.score < 1 for p in model.predict(batch)["ctr"])
