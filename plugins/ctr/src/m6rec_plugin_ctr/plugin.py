"""The plugin: a manifest and the four hooks. Click-through, like and conversion prediction are one task."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from torch import Tensor, nn

from m6rec_core.hookspecs import HOOK_API, hookimpl
from m6rec_core.types import BackboneSpec, Generate, Prediction, Sample, Serialized, TaskManifest, TaskView
from m6rec_plugin_ctr.head import CtrHead, predictions, row_losses
from m6rec_plugin_ctr.sample import CtrPrediction, CtrSample
from m6rec_plugin_ctr.serialize import serialize
from m6rec_plugin_ctr.settings import CtrConfig

MANIFEST = TaskManifest(
    task="ctr",
    summary="the probability that a user clicks, likes or buys a candidate",
    hook_api=(HOOK_API, HOOK_API),
    sample=CtrSample,
    prediction=CtrPrediction,
    config=CtrConfig,
    metrics=("auc", "gauc", "log_loss"),
    baselines=("random", "item-mean", "user-like-ratio", "logistic-regression"),
    variants={"text alone": "text_score"},
    quick={"shots": 1280, "evaluation.rows": 2000, "evaluation.valid_rows": 400},
)


@hookimpl
def serialize_sample(sample: Sample, config: CtrConfig) -> Serialized:
    """See `m6rec_plugin_ctr.serialize`."""
    return serialize(cast(CtrSample, sample), config)


@hookimpl
def build_head(config: CtrConfig, backbone: BackboneSpec) -> nn.Module:
    """Two options, and a calibration layer where the settings ask for it."""
    return CtrHead(config, backbone)


@hookimpl
def compute_loss(head: nn.Module, view: TaskView) -> Tensor:
    """Cross-entropy of the two options (paper 3.2), one per sample."""
    return row_losses(cast(CtrHead, head), view)


@hookimpl
def decode(head: nn.Module, view: TaskView, generate: Generate) -> Sequence[Prediction]:
    """Probability of the positive option."""
    del generate
    return predictions(cast(CtrHead, head), view)
