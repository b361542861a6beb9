"""The plugin: a manifest and the four hooks. Which of these texts goes with this user?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from torch import Tensor, nn

from m6rec_core.config import TaskConfig
from m6rec_core.hookspecs import HOOK_API, hookimpl
from m6rec_core.types import BackboneSpec, Generate, Prediction, Sample, Serialized, TaskManifest, TaskView
from m6rec_plugin_zeroshot.derive import derive
from m6rec_plugin_zeroshot.evaluate import ChoiceEvaluation
from m6rec_plugin_zeroshot.head import LikelihoodHead, predictions, row_losses
from m6rec_plugin_zeroshot.sample import ChoicePrediction, ChoiceSample
from m6rec_plugin_zeroshot.serialize import serialize
from m6rec_plugin_zeroshot.settings import ZeroshotConfig

MANIFEST = TaskManifest(
    task="zeroshot",
    summary="which of several texts goes with a user, by likelihood, without training",
    hook_api=(HOOK_API, HOOK_API),
    sample=ChoiceSample,
    prediction=ChoicePrediction,
    config=ZeroshotConfig,
    score_field="",
    default_data="ml-1m",
    quick={
        "shots": 0,
        "evaluation.rows": 200,
        "evaluation.valid_rows": 100,
        "training.epochs": 2,
        "training.packs_per_step": 1,
        "training.lr": 1e-3,
        "tuning.mode": "adapter",
        "tuning.train_markers": False,
    },
    derive=derive,
    evaluation=ChoiceEvaluation(),
)


@hookimpl
def serialize_sample(sample: Sample, config: TaskConfig) -> Serialized:
    """See `m6rec_plugin_zeroshot.serialize`."""
    return serialize(cast(ChoiceSample, sample), cast(ZeroshotConfig, config))


@hookimpl
def build_head(config: TaskConfig, backbone: BackboneSpec) -> nn.Module:
    """A head without parameters."""
    del backbone
    return LikelihoodHead(cast(ZeroshotConfig, config))


@hookimpl
def compute_loss(head: nn.Module, view: TaskView) -> Tensor:
    """Minus the mean log-likelihood per token of the right choice (paper 3.2), one per sample."""
    return row_losses(cast(LikelihoodHead, head), view)


@hookimpl
def decode(head: nn.Module, view: TaskView, generate: Generate) -> Sequence[Prediction]:
    """The likelihood of each choice."""
    del generate
    return predictions(cast(LikelihoodHead, head), view)
