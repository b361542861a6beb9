"""What goes in and what comes out of the task."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from typing import Any

from pydantic import field_validator, model_validator

from m6rec_core.text.template import clean
from m6rec_core.types import FrozenModel, Prediction, Sample


class Choice(FrozenModel):
    """One of the texts to choose from. `popularity`: how often it was chosen by others, None where that is unknown."""

    id: str
    text: str
    popularity: float | None = None

    @field_validator("text")
    @classmethod
    def _has_text(cls, text: str) -> str:
        if not clean(text):
            raise ValueError("is empty; a choice needs text to be scored")
        return text


class ChoiceSample(Sample):
    """A context and the texts to choose from.

    `context`: a text that is used as it stands ("Which film is it? A shark ..."), or the titles of what the user liked,
    oldest first, which a prompt form puts into words. `context_ids`: the ids of these titles, for comparison models.
    `label`: the indices of the right choices (one, or a set), None where they are to be predicted. A choice may be
    written as a bare text, which is then its id too.

    The JSON of BIG-Bench is understood too: `input` and `target_scores` (text -> score, above 0 for the right ones).
    """

    context: str | tuple[str, ...]
    context_ids: tuple[str, ...] = ()
    choices: tuple[Choice, ...]
    label: tuple[int, ...] | None = None
    user_id: str = ""

    @model_validator(mode="before")
    @classmethod
    def _short_forms(cls, values: Any) -> Any:
        if not isinstance(values, Mapping):
            return values
        filled = dict(values)
        if "input" in filled and "target_scores" in filled and isinstance(filled["target_scores"], Mapping):
            filled = _big_bench(filled)
        if isinstance(filled.get("choices"), list | tuple):
            filled["choices"] = [{"id": c, "text": c} if isinstance(c, str) else c for c in filled["choices"]]
        if isinstance(filled.get("label"), int) and not isinstance(filled["label"], bool):
            filled["label"] = (filled["label"],)
        return filled

    @field_validator("context")
    @classmethod
    def _is_said(cls, context: str | tuple[str, ...]) -> str | tuple[str, ...]:
        if isinstance(context, str) and not context.strip():
            raise ValueError("is empty; give a text, or a list of titles (which may be empty)")
        if not isinstance(context, str):
            for place, title in enumerate(context):
                if not clean(title):
                    raise ValueError(f"title {place} is empty")
        return context

    @field_validator("choices")
    @classmethod
    def _can_be_told_apart(cls, choices: tuple[Choice, ...]) -> tuple[Choice, ...]:
        if len(choices) < 2:
            there = "there is none" if not choices else "there is one only"
            raise ValueError(f"{there}; give at least 2 choices to choose from")
        seen: dict[str, int] = {}
        for place, choice in enumerate(choices):
            first = seen.setdefault(choice.id, place)
            if first != place:
                raise ValueError(f"choices {first} and {place} have the same id {choice.id!r}")
        return choices

    @model_validator(mode="after")
    def _fits_together(self) -> ChoiceSample:
        if self.context_ids and len(self.context_ids) != len(self.context):
            raise ValueError(f"context_ids: {len(self.context_ids)} ids for {len(self.context)} titles")
        return self

    @field_validator("label")
    @classmethod
    def _names_choices(cls, label: tuple[int, ...] | None, info: Any) -> tuple[int, ...] | None:
        if label is None or "choices" not in info.data:
            return label
        count = len(info.data["choices"])
        outside = [index for index in label if not 0 <= index < count]
        if outside:
            raise ValueError(f"{outside[0]} is out of range; the {count} choices are numbered 0 to {count - 1}")
        if not label:
            raise ValueError("is an empty set; leave it out where nothing is known")
        return tuple(sorted(set(label)))

    @property
    def titles(self) -> tuple[str, ...]:
        """The titles of the context; none where it is a text."""
        return () if isinstance(self.context, str) else self.context


def _big_bench(values: Mapping[str, Any]) -> dict[str, Any]:
    """One example of a BIG-Bench multiple-choice task as the fields of a sample; its id follows from the question."""
    scores = values["target_scores"]
    texts = list(scores)
    right = [place for place, text in enumerate(texts) if isinstance(scores[text], int | float) and scores[text] > 0]
    rest = {
        name: value for name, value in values.items() if name not in ("input", "target_scores", "target", "comment")
    }
    name = sha256("\n".join([str(values["input"]), *texts]).encode()).hexdigest()[:12]
    return {"id": name, **rest, "context": values["input"], "choices": texts, "label": right or None}


class PromptLikelihood(FrozenModel):
    """What one prompt form says about each of C choices: the sum of log p over its tokens."""

    prompt: str
    sums: tuple[float, ...]


class ChoicePrediction(Prediction):
    """One score per choice, in the order of the sample's; `best` is the id of the highest.

    What the scores were made of, for other normalisations: `likelihoods` of each prompt form, `prior_sums` without the
    context (empty unless settings.normalise is "prior"), and the number of `tokens` and UTF-8 `lengths` of each choice.
    """

    scores: tuple[float, ...]
    best: str
    likelihoods: tuple[PromptLikelihood, ...]
    prior_sums: tuple[float, ...] = ()
    tokens: tuple[int, ...]
    lengths: tuple[int, ...]
