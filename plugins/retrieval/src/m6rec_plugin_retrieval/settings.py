"""Settings of the task: what is written of users and items, how pairs are drawn, how the loss treats negatives."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from m6rec_core.config import HistoryRule, SamplingConfig, TaskConfig
from m6rec_core.types import Pooling

EPOCHS = 16
TEXT_HISTORY = HistoryRule(events=10, stride=10)
RIDGE = 0.1
"""Default of the closed-form start's penalty; not chosen on data yet."""


class RetrievalConfig(TaskConfig):
    """`width`, `temperature`: of the vectors and the softmax (paper 3.2). `pooling`: a row is read as the mean of its
    tokens' states, or at its last one ("last"), as the paper does. `markers`: write [BOS'] [EOS'] [BOS] [EOS] too, as
    the paper does; off suits a causal backbone that never saw markers.

    `user`: "events" makes a user the sequence of its latest events' item texts, each a text of its own that is computed
    once however often it recurs, read by a small causal encoder (`m6rec_plugin_retrieval.event_encoder`); "text" writes
    the latest titles as one text. `fit_epochs`, `fit_dropout`: of the encoder's fit to the frozen states
    (`m6rec_plugin_retrieval.event_fit`). `known_texts`: at most so many texts of training, the most frequent ones, are
    remembered beyond what their states say (`m6rec_plugin_retrieval.text_memory`); None: 4,096, or fewer where that is
    more than .5 % of the backbone's parameters. `fit_forget`: the share of them that
    a step of the fit forgets, so that items without a memory are scored as well.

    Text of users ("text"): one line per event with the title, and `event_year`, `event_genres`, `event_words` (how the
    item was judged by others before, in one word) where asked; `user_phrase` before them. Text of items: the title,
    `item_year`, `item_genres`, `item_words` (how often it occurs in the training part, in words).

    `pairs_per_user` ("text"): at most so many training pairs of each user, the latest; with an anchored history
    (`sampling.history.stride`) they share their text. With "events" a user's latest events are one training sample, and
    each of them but the first is a target. `unseen_share`: share of the items held out of all training.
    `hard_negatives`: so many items per pair, drawn by popularity, that the user never met. `mask_history`: items of
    the user's own history are no negatives. `popularity_correction`: correct the in-batch sampling bias (logQ).

    `ridge`: penalty of the closed-form start of "text" (`m6rec_plugin_retrieval.start`). `exclude_history`: items of
    the history are not ranked; the full ranking of the literature keeps them. `valid_items`: rank the valid rows among
    so many items drawn at random, which is cheaper and gives other, higher numbers; None: among all.
    """

    user: Literal["events", "text"] = "events"
    fit_epochs: int = Field(default=EPOCHS, ge=0)
    fit_dropout: float = Field(default=0.2, ge=0, lt=1)
    fit_forget: float = Field(default=0.3, ge=0, lt=1)
    known_texts: int | None = Field(default=None, ge=0)
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
    pooling: Pooling = Pooling.MEAN
    pairs_per_user: int | None = Field(default=10, ge=1)
    unseen_share: float = Field(default=0.0, ge=0, lt=1)
    hard_negatives: int = Field(default=0, ge=0)
    mask_history: bool = True
    popularity_correction: bool = True
    ridge: float = Field(default=RIDGE, ge=0)
    exclude_history: bool = False
    valid_items: int | None = Field(default=None, ge=1)
    sampling: SamplingConfig = SamplingConfig(history=HistoryRule(events=50))

    @property
    def longest(self) -> int:
        """The most events that a user is read with ("events")."""
        return max(1, self.sampling.history.events + self.sampling.history.stride - 1)

    @model_validator(mode="before")
    @classmethod
    def _history_of_the_user(cls, values: Any) -> Any:
        """Ten to 19 titles make a text, 50 events a sequence, unless `sampling.history` says otherwise."""
        if not isinstance(values, dict) or values.get("user", "events") != "text":
            return values
        sampling = values.get("sampling") or {}
        if not isinstance(sampling, dict) or "history" in sampling:
            return values
        return {**values, "sampling": {**sampling, "history": TEXT_HISTORY}}

    @model_validator(mode="before")
    @classmethod
    def _instruction_of_the_domain(cls, values: Any) -> Any:
        """The instruction that starts the soft prompts follows from the domain unless it is given."""
        if not isinstance(values, dict) or values.get("domain") is None or values.get("instruction"):
            return values
        domain = values["domain"]
        noun = domain.get("noun", "item") if isinstance(domain, dict) else domain.noun
        return {**values, "instruction": f"What {noun} comes next? A list of {noun}s:"}
