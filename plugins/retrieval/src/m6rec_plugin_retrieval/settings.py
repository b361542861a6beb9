"""Settings of the task: what is written of users and items, how pairs are drawn, how the loss treats negatives."""

from __future__ import annotations

from typing import Any

from pydantic import Field, model_validator

from m6rec_core.config import HistoryRule, SamplingConfig, TaskConfig

RIDGE = 0.1
"""Default of the closed-form start's penalty; not chosen on data yet."""


class RetrievalConfig(TaskConfig):
    """`width`, `temperature`: of the vectors and the softmax (paper 3.2). `markers`: write [BOS'] [EOS'] [BOS] [EOS]
    and read out there, as the paper does; off, the last token of the text is read, which suits a causal backbone that
    never saw markers.

    Text of users: one line per event with the title, and `event_year`, `event_genres`, `event_words` (how the item was
    judged by others before, in one word) where asked; `user_phrase` before them. Text of items: the title, `item_year`,
    `item_genres`, `item_words` (how often it occurs in the training part, in words).

    `pairs_per_user`: at most so many training pairs of each user, the latest; with an anchored history
    (`sampling.history.stride`) they share their text. `unseen_share`: share of the items held out of all training.
    `hard_negatives`: so many items per pair, drawn by popularity, that the user never met. `mask_history`: items of
    the user's own history are no negatives. `popularity_correction`: correct the in-batch sampling bias (logQ).

    `ridge`: penalty of the closed-form start (`m6rec_plugin_retrieval.start`). `exclude_history`: items of the history
    are not ranked; the literature's full ranking keeps them. `valid_items`: rank the valid rows among so many
    items drawn at random, which is cheaper and gives other, higher numbers; None: among all.
    """

    width: int = Field(default=128, ge=2)
    temperature: float = Field(default=0.07, gt=0)
    markers: bool = False
    user_phrase: bool = False
    event_year: bool = False
    event_genres: bool = False
    event_words: bool = False
    item_year: bool = True
    item_genres: bool = True
    item_words: bool = False
    pairs_per_user: int | None = Field(default=10, ge=1)
    unseen_share: float = Field(default=0.0, ge=0, lt=1)
    hard_negatives: int = Field(default=0, ge=0)
    mask_history: bool = True
    popularity_correction: bool = True
    ridge: float = Field(default=RIDGE, ge=0)
    exclude_history: bool = False
    valid_items: int | None = Field(default=None, ge=1)
    sampling: SamplingConfig = SamplingConfig(history=HistoryRule(events=10, stride=10))

    @model_validator(mode="before")
    @classmethod
    def _instruction_of_the_domain(cls, values: Any) -> Any:
        """The instruction that starts the soft prompts follows from the domain unless it is given."""
        if not isinstance(values, dict) or values.get("domain") is None or values.get("instruction"):
            return values
        domain = values["domain"]
        noun = domain.get("noun", "item") if isinstance(domain, dict) else domain.noun
        return {**values, "instruction": f"What {noun} comes next? A list of {noun}s:"}
