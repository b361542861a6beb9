"""The plugin: a manifest and the four hooks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from torch import Tensor, nn

from m6rec_core.hookspecs import HOOK_API, hookimpl
from m6rec_core.types import BackboneSpec, Generate, LossScope, Prediction, Sample, Serialized, TaskManifest, TaskView
from m6rec_plugin_retrieval.derive import derive
from m6rec_plugin_retrieval.evaluation import FullRanking
from m6rec_plugin_retrieval.head import RetrievalHead, pair_losses, predictions
from m6rec_plugin_retrieval.sample import RetrievalPrediction, RetrievalSample
from m6rec_plugin_retrieval.serialize import serialize
from m6rec_plugin_retrieval.settings import RetrievalConfig

MANIFEST = TaskManifest(
    task="retrieval",
    summary="vectors of users and items from their text; the items nearest to a user are the candidates",
    hook_api=(HOOK_API, HOOK_API),
    sample=RetrievalSample,
    prediction=RetrievalPrediction,
    config=RetrievalConfig,
    loss_scope=LossScope.BATCH,
    label_field="",
    score_field="",
    default_data="ml-1m",
    quick={
        "shots": 4000,
        "evaluation.rows": 600,
        "evaluation.valid_rows": 200,
        "training.max_steps": 0,
        "evaluation.baselines": ("random", "popularity"),
    },
    derive=derive,
    evaluation=FullRanking(),
)


@hookimpl
def serialize_sample(sample: Sample, config: RetrievalConfig) -> Serialized:
    """See `m6rec_plugin_retrieval.serialize`."""
    return serialize(cast(RetrievalSample, sample), config)


@hookimpl
def build_head(config: RetrievalConfig, backbone: BackboneSpec) -> nn.Module:
    """Two projections to unit vectors (paper 3.2)."""
    return RetrievalHead(config, backbone)


@hookimpl
def compute_loss(head: nn.Module, view: TaskView) -> Tensor:
    """Softmax over the items of the step, one loss per pair."""
    return pair_losses(cast(RetrievalHead, head), view)


@hookimpl
def decode(head: nn.Module, view: TaskView, generate: Generate) -> Sequence[Prediction]:
    """The vector of each sample's user, or of its item."""
    del generate
    return predictions(cast(RetrievalHead, head), view)
