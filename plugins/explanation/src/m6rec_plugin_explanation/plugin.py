"""The plugin: a manifest and the four hooks. Why would this user like this item?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

from torch import Tensor, nn

from m6rec_core.config import TaskConfig
from m6rec_core.errors import DataError
from m6rec_core.generation import answer_losses
from m6rec_core.hookspecs import HOOK_API, hookimpl
from m6rec_core.logs.schema import Logs
from m6rec_core.types import BackboneSpec, Generate, Prediction, Sample, Serialized, TaskManifest, TaskView
from m6rec_plugin_explanation.evaluation import ExplanationEvaluation
from m6rec_plugin_explanation.head import ExplanationHead, predictions
from m6rec_plugin_explanation.sample import ExplanationPrediction, ExplanationSample
from m6rec_plugin_explanation.serialize import serialize
from m6rec_plugin_explanation.settings import ExplanationConfig


def derive(logs: Logs, config: TaskConfig, seed: int) -> Mapping[str, Sequence[Sample]]:
    """Always raises DataError: an events table has no review texts to learn explanations from."""
    del config, seed
    raise DataError(
        f"{logs.source}: users, items and events hold no review texts to learn from; make samples of reviews with "
        "`m6rec reviews --input reviews.jsonl --output DIR`"
    )


MANIFEST = TaskManifest(
    task="explanation",
    summary="why a user likes an item, in a sentence, about a given feature or any",
    hook_api=(HOOK_API, HOOK_API),
    sample=ExplanationSample,
    prediction=ExplanationPrediction,
    config=ExplanationConfig,
    label_field="",
    score_field="",
    default_data="rent-the-runway",
    quick={
        "shots": 400,
        "evaluation.rows": 100,
        "evaluation.valid_rows": 50,
        "training.epochs": 2,
        "training.packs_per_step": 1,
        "training.lr": 1e-3,
        "tuning.mode": "adapter",
    },
    derive=derive,
    evaluation=ExplanationEvaluation(),
)


@hookimpl
def serialize_sample(sample: Sample, config: TaskConfig) -> Serialized:
    """See `m6rec_plugin_explanation.serialize`."""
    return serialize(cast(ExplanationSample, sample), cast(ExplanationConfig, config))


@hookimpl
def build_head(config: TaskConfig, backbone: BackboneSpec) -> nn.Module:
    """A head without parameters."""
    del backbone
    return ExplanationHead(cast(ExplanationConfig, config))


@hookimpl
def compute_loss(head: nn.Module, view: TaskView) -> Tensor:
    """Minus the mean log p per token of the words after "because" (paper 3.2, generation tasks), one per sample."""
    del head
    return answer_losses(view)


@hookimpl
def decode(head: nn.Module, view: TaskView, generate: Generate) -> Sequence[Prediction]:
    """The best explanations of each sample."""
    return predictions(cast(ExplanationHead, head), view, generate)
