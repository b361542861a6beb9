"""Settings of the task: the prompt forms, the normalisation, and how samples are drawn from logs."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from m6rec_core.config import TaskConfig
from m6rec_core.errors import ConfigError
from m6rec_core.heads.likelihood import Normalisation
from m6rec_plugin_zeroshot.prompts import PROMPTS

Protocol = Literal["sileo", "clicked-random"]
Average = Literal["scores", "probabilities"]


class ZeroshotConfig(TaskConfig):
    """`prompts`: names of the forms of `m6rec_plugin_zeroshot.prompts.PROMPTS`; of several, the results are averaged.
    `average`: "scores" takes the mean of their scores, "probabilities" the logarithm of the mean of their exponentials.
    `normalise`: see `m6rec_core.heads.likelihood.normalised`; "byte" was best on valid rows, "token" is the paper's.
    `neutral`: the prompt without a context, for the prior and for users without history; "" writes the domain's noun
    ("Movies:"). `markers`: the paper's markers around source
    and target; off for pretrained causal backbones, which never saw them. `noun`: of the prompt forms; "" is the
    domain's.

    Samples from logs: `protocol` "sileo" asks for the liked one among disliked ones, "clicked-random" for the clicked
    one among random ones (paper Fig. 7). An event is a like from `like_at_least`, a dislike up to `dislike_at_most`
    (events without a value are likes). `history`: liked titles in the prompt. `negatives`: other choices of a sample.
    `train_targets`: samples of each training user under "clicked-random", for the newest likes that have enough before.
    `draw`: seed of the drawing of users, histories and choices; the training seed draws the shots only.
    `compare_on_valid`: the report's table of forms also shows the valid part, where settings are chosen.
    """

    prompts: tuple[str, ...] = ("list",)
    average: Average = "scores"
    normalise: Normalisation = "byte"
    neutral: str = ""
    markers: bool = False
    noun: str = ""
    protocol: Protocol = "clicked-random"
    history: int = Field(default=5, ge=1)
    negatives: int = Field(default=4, ge=1)
    like_at_least: float = 5.0
    dislike_at_most: float = 2.0
    train_targets: int = Field(default=1, ge=1)
    draw: int = 0
    compare_on_valid: bool = False
    instruction: str = "Here are titles that one person likes:"
    max_tokens: int = Field(default=1024, ge=8)

    @field_validator("prompts", mode="before")
    @classmethod
    def _one_or_more(cls, names: object) -> object:
        return tuple(PROMPTS) if names == "all" else (names,) if isinstance(names, str) else names

    @field_validator("prompts")
    @classmethod
    def _known(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        unknown = [name for name in names if name not in PROMPTS]
        if unknown or not names:
            wrong = repr(unknown[0]) if unknown else "an empty list"
            raise ValueError(f"{wrong}: name one or more of {', '.join(PROMPTS)}")
        if len(set(names)) != len(names):
            raise ValueError("a prompt form is named twice")
        return names

    @property
    def thing(self) -> str:
        """What a choice is called: `noun`, or the domain's."""
        if self.noun:
            return self.noun
        if self.domain is None:
            raise ConfigError("the settings name no domain; set settings.noun, or settings.domain")
        return self.domain.noun

    @property
    def neutral_prompt(self) -> str:
        """The prompt that says nothing about the user."""
        return self.neutral or f"{self.thing[:1].upper()}{self.thing[1:]}s:"
