"""Settings of the task: the text form, and what of a product's details and a user's history is written."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from m6rec_core.config import DecodingConfig
from m6rec_core.generation import STOP, WritingConfig, for_best

Form = Literal["lines", "paper"]


class ExplanationConfig(WritingConfig):
    """`form`: "lines" writes a line for each thing known, without markers, for pretrained causal backbones; "paper" the
    sentence of section 3.2 with markers.

    `details_words`, `feature_words`, `because_words`: what stands before the details, before the feature that the text
    should mention, and before the explanation; write them in the language of the reviews. `events`: newest events of
    the history that are written. `details_bytes`: longest details in bytes of UTF-8, so at most as many tokens under a
    byte-level tokenizer; longer ones end at the last whole word, and the report counts them.
    """

    form: Form = "lines"
    details_words: str = Field(default="Product details:", min_length=1)
    feature_words: str = Field(default="The user cares about:", min_length=1)
    because_words: str = Field(default="The user likes it because", min_length=1)
    events: int = Field(default=3, ge=0)
    details_bytes: int = Field(default=300, ge=1)
    instruction: str = "Explain why the user likes the product."
    decoding: DecodingConfig = DecodingConfig(max_new_tokens=40, stop=STOP)

    def writing(self) -> DecodingConfig:
        """Return the decoding settings, wide enough for `best` texts after doubles are left out."""
        return for_best(self.decoding, self.best)
