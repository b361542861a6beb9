"""The plugin: a manifest and the four hooks. What would this user type into the search box?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from torch import Tensor, nn

from m6rec_core.config import TaskConfig
from m6rec_core.generation import TextEvaluation, answer_losses
from m6rec_core.hookspecs import HOOK_API, hookimpl
from m6rec_core.types import BackboneSpec, Generate, Prediction, Sample, Serialized, TaskManifest, TaskView
from m6rec_plugin_query_generation.derive import derive
from m6rec_plugin_query_generation.head import QueryHead, predictions
from m6rec_plugin_query_generation.rivals import asked, first_words, last_words, nearest_query, whole_need
from m6rec_plugin_query_generation.sample import QueryPrediction, QuerySample
from m6rec_plugin_query_generation.serialize import serialize
from m6rec_plugin_query_generation.settings import QueryConfig

EVALUATION = TextEvaluation(
    answer_field="query",
    question=asked,
    tables={
        "against the typed query": ("bleu_2_kobe", "bleu_3_kobe"),
        "perplexity of the typed query": ("ppl_token", "ppl_word", "ppl_byte"),
        "variety": ("dist_2", "dist_3", "dist_4"),
    },
    baselines={
        "nearest need": nearest_query,
        "first words": first_words,
        "last words": last_words,
        "whole need": whole_need,
    },
)

MANIFEST = TaskManifest(
    task="query-generation",
    summary="search queries for a user, from history or from a stated need",
    hook_api=(HOOK_API, HOOK_API),
    sample=QuerySample,
    prediction=QueryPrediction,
    config=QueryConfig,
    label_field="",
    score_field="",
    default_data="query-examples",
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
    evaluation=EVALUATION,
)


@hookimpl
def serialize_sample(sample: Sample, config: TaskConfig) -> Serialized:
    """See `m6rec_plugin_query_generation.serialize`."""
    return serialize(cast(QuerySample, sample), cast(QueryConfig, config))


@hookimpl
def build_head(config: TaskConfig, backbone: BackboneSpec) -> nn.Module:
    """A head without parameters."""
    del backbone
    return QueryHead(cast(QueryConfig, config))


@hookimpl
def compute_loss(head: nn.Module, view: TaskView) -> Tensor:
    """Minus the mean log p per token of the typed query (paper 3.2, generation tasks), one per sample."""
    del head
    return answer_losses(view)


@hookimpl
def decode(head: nn.Module, view: TaskView, generate: Generate) -> Sequence[Prediction]:
    """The best queries of each sample."""
    return predictions(cast(QueryHead, head), view, generate)
