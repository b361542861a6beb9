"""The plugin: a manifest and the four hooks. Which product, not made yet, would this user buy next?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from torch import Tensor, nn

from m6rec_core.config import TaskConfig
from m6rec_core.generation import answer_losses
from m6rec_core.hookspecs import HOOK_API, hookimpl
from m6rec_core.types import BackboneSpec, Generate, Prediction, Sample, Serialized, TaskManifest, TaskView
from m6rec_plugin_product_design.derive import derive
from m6rec_plugin_product_design.head import DesignHead, predictions
from m6rec_plugin_product_design.report import DesignEvaluation
from m6rec_plugin_product_design.sample import DesignPrediction, DesignSample
from m6rec_plugin_product_design.serialize import serialize
from m6rec_plugin_product_design.settings import DesignConfig

MANIFEST = TaskManifest(
    task="product-design",
    summary="category and title of a product that a user would buy next",
    hook_api=(HOOK_API, HOOK_API),
    sample=DesignSample,
    prediction=DesignPrediction,
    config=DesignConfig,
    label_field="",
    score_field="",
    default_data="design-examples",
    quick={
        "shots": 400,
        "evaluation.rows": 100,
        "evaluation.valid_rows": 50,
        "training.epochs": 3,
        "training.packs_per_step": 1,
        "training.lr": 1e-3,
        "tuning.mode": "adapter",
    },
    derive=derive,
    evaluation=DesignEvaluation(),
)


@hookimpl
def serialize_sample(sample: Sample, config: TaskConfig) -> Serialized:
    """See `m6rec_plugin_product_design.serialize`."""
    return serialize(cast(DesignSample, sample), cast(DesignConfig, config))


@hookimpl
def build_head(config: TaskConfig, backbone: BackboneSpec) -> nn.Module:
    """A head without parameters."""
    del backbone
    return DesignHead(cast(DesignConfig, config))


@hookimpl
def compute_loss(head: nn.Module, view: TaskView) -> Tensor:
    """Minus the mean log p per token of category and title (paper 3.2, generation tasks), one per sample."""
    del head
    return answer_losses(view)


@hookimpl
def decode(head: nn.Module, view: TaskView, generate: Generate) -> Sequence[Prediction]:
    """The best designs of each sample."""
    return predictions(cast(DesignHead, head), view, generate)
