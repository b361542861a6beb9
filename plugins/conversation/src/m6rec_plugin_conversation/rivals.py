"""Baselines that need no language model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import cast

from m6rec_core.generation import nearest_answers
from m6rec_core.metrics.text.novelty import normalised
from m6rec_core.text.template import clean
from m6rec_core.types import RunView, Sample
from m6rec_plugin_conversation.sample import DialogueSample
from m6rec_plugin_conversation.settings import ConversationConfig


def last_turns(sample: Sample) -> str:
    """What leads to the reply, in words: the last two turns."""
    return " / ".join(clean(turn.text) for turn in cast(DialogueSample, sample).turns[-2:])


def dialogue_text(sample: Sample) -> str:
    """All turns, in words."""
    return " ".join(clean(turn.text) for turn in cast(DialogueSample, sample).turns)


def nearest_dialogue(run: RunView, samples: Sequence[Sample]) -> list[str] | None:
    """The reply of the training row with the nearest dialogue (TF-IDF over all turns); None without training rows."""
    known = answered(run)
    if not known:
        return None
    replies = [sample.reply or "" for sample in known]
    tokens = cast(ConversationConfig, run.settings).metric_tokens or "13a"
    texts, asked = [dialogue_text(sample) for sample in known], [dialogue_text(sample) for sample in samples]
    return nearest_answers(texts, replies, asked, tokens)


def most_frequent(run: RunView, samples: Sequence[Sample]) -> list[str] | None:
    """The reply that most training rows have, whatever its case and punctuation; None without training rows."""
    known = [clean(sample.reply or "") for sample in answered(run)]
    if not known:
        return None
    key, _ = Counter(map(normalised, known)).most_common(1)[0]
    return [next(reply for reply in known if normalised(reply) == key)] * len(samples)


def answered(run: RunView) -> list[DialogueSample]:
    """The training samples with a reply."""
    return [sample for one in run.parts["train"] if (sample := cast(DialogueSample, one)).reply]
