"""The plugin: a manifest and the four hooks. What does the recommender say next, and which film does it recommend?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from torch import Tensor, nn

from m6rec_core.config import TaskConfig
from m6rec_core.generation import TextEvaluation
from m6rec_core.hookspecs import HOOK_API, hookimpl
from m6rec_core.types import BackboneSpec, Generate, Prediction, Sample, Serialized, TaskManifest, TaskView
from m6rec_plugin_conversation.evaluate import DialogueEvaluation
from m6rec_plugin_conversation.head import ConversationHead, predictions, sample_losses
from m6rec_plugin_conversation.rivals import last_turns, most_frequent, nearest_dialogue
from m6rec_plugin_conversation.sample import DialoguePrediction, DialogueSample
from m6rec_plugin_conversation.serialize import serialize
from m6rec_plugin_conversation.settings import ConversationConfig

EVALUATION = DialogueEvaluation(
    TextEvaluation(
        answer_field="reply",
        question=last_turns,
        tables={
            "against the reply": ("bleu_2_kgsf", "bleu_3_kgsf", "bleu_2_cumulative", "bleu_3_cumulative"),
            "perplexity of the reply": ("ppl_token", "ppl_word", "ppl_byte"),
            "variety": ("dist_3_kbrd", "dist_4_kbrd", "dist_3", "dist_4"),
        },
        baselines={"nearest dialogue": nearest_dialogue, "most frequent reply": most_frequent},
    )
)

MANIFEST = TaskManifest(
    task="conversation",
    summary="what a recommender says next in a dialogue, and which film it recommends",
    hook_api=(HOOK_API, HOOK_API),
    sample=DialogueSample,
    prediction=DialoguePrediction,
    config=ConversationConfig,
    label_field="",
    score_field="",
    default_data="dialogue-examples",
    quick={
        "shots": 400,
        "evaluation.rows": 100,
        "evaluation.valid_rows": 50,
        "training.epochs": 3,
        "training.packs_per_step": 1,
        "training.lr": 1e-3,
        "tuning.mode": "adapter",
    },
    evaluation=EVALUATION,
)


@hookimpl
def serialize_sample(sample: Sample, config: TaskConfig) -> Serialized:
    """See `m6rec_plugin_conversation.serialize`."""
    return serialize(cast(DialogueSample, sample), cast(ConversationConfig, config))


@hookimpl
def build_head(config: TaskConfig, backbone: BackboneSpec) -> nn.Module:
    """A head without parameters."""
    del backbone
    return ConversationHead(cast(ConversationConfig, config))


@hookimpl
def compute_loss(head: nn.Module, view: TaskView) -> Tensor:
    """Minus the mean log p per token of the reply (paper 3.2, generation tasks) and of its films, one per sample."""
    return sample_losses(cast(ConversationHead, head), view)


@hookimpl
def decode(head: nn.Module, view: TaskView, generate: Generate) -> Sequence[Prediction]:
    """The reply to each sample, or the ranking of its candidates."""
    return predictions(cast(ConversationHead, head), view, generate)
