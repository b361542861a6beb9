"""Settings of the task: the text form, and how films are ranked."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from m6rec_core.config import DecodingConfig
from m6rec_core.generation import STOP, WritingConfig

Form = Literal["lines", "paper"]


class ConversationConfig(WritingConfig):
    """`form`: "lines" writes a line for each turn, without markers, for pretrained causal backbones; "paper" the same
    text with markers, the dialogue in the source region (section 3.1).

    `seeker_words`, `recommender_words`: what marks the speaker of a turn. `title_words`: what stands before a title
    where films are ranked, and in the row that is trained for each recommended film. `title_weight`: the weight of that
    row's loss beside the reply's (0: films are not trained). `item_facts`: whether what is known of the films of a turn
    follows it. `newest_turns`: only so many turns are seen (None: as many as `max_tokens` allows).

    `candidates`: titles that the report ranks for each reply that recommends a film (the films of the reply and others
    drawn from the catalogue; 0: the whole catalogue). `catalogue`: titles beside those that the run's samples name.
    `normalise`: how titles of unlike length compare; "sum" is log p of the title.
    """

    form: Form = "lines"
    seeker_words: str = Field(default="Seeker:", min_length=1)
    recommender_words: str = Field(default="Recommender:", min_length=1)
    title_words: str = Field(default="Recommender: I recommend", min_length=1)
    title_weight: float = Field(default=1.0, ge=0.0)
    item_facts: bool = True
    newest_turns: int | None = Field(default=None, ge=1)
    candidates: int = Field(default=100, ge=0)
    catalogue: tuple[str, ...] = ()
    normalise: Literal["sum", "token", "byte"] = "sum"
    instruction: str = "Answer the seeker and recommend a movie."
    decoding: DecodingConfig = DecodingConfig(max_new_tokens=48, no_repeat_ngram=4, stop=STOP)
