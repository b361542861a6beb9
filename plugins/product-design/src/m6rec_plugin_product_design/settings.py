"""Settings of the task: the text form, what is bought in logs, and how unlike several designs are."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from m6rec_core.config import DecodingConfig, HistoryRule, SamplingConfig
from m6rec_core.generation import STOP, WritingConfig, for_best

Form = Literal["lines", "paper"]
CANDIDATES = 3
"""Texts drawn for each design that is asked for, where there are several."""


class DesignConfig(WritingConfig):
    """`form`: "lines" writes a line for each thing known and `ask_words`, without markers, for pretrained causal
    backbones; "paper" the sentence of section 3.2 with markers. `category_given`: the category of the answer is told,
    in training and in reports, so that only the title is written.

    `diversity`: of several designs, one that shares all its words with a better one counts this many nats per token
    less; `seed` decides which are drawn. In logs: `title_field`, `category_field` are columns of the items;
    `bought_kinds` the kinds of events that are a purchase (empty: all), those with a value below `least_value` left
    out.
    """

    form: Form = "lines"
    ask_words: str = Field(default="next product (category | title):", min_length=1)
    category_given: bool = False
    diversity: float = Field(default=1.0, ge=0.0)
    seed: int = Field(default=0, ge=0)
    title_field: str = "title"
    category_field: str = "category"
    bought_kinds: tuple[str, ...] = ()
    least_value: float = 4.0
    instruction: str = "Design a product that the user buys next."
    decoding: DecodingConfig = DecodingConfig(max_new_tokens=48, stop=STOP)
    sampling: SamplingConfig = SamplingConfig(history=HistoryRule(events=10))

    def writing(self) -> DecodingConfig:
        """Return the decoding settings, wide enough for `best` designs: several are sampled, unless beams are set."""
        if self.best == 1 or self.decoding.method == "beam":
            return for_best(self.decoding, self.best)
        texts = max(self.decoding.texts, CANDIDATES * self.best)
        update: dict[str, object] = {"method": "sample", "texts": texts, "seed": self.seed}
        if self.decoding.method == "greedy":
            update["top_p"] = min(self.decoding.top_p, 0.9)
        return self.decoding.model_copy(update=update)
