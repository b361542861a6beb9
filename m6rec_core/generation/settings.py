"""Settings that every task that writes text has."""

from __future__ import annotations

from pydantic import Field, field_validator

from m6rec_core.config import DecodingConfig, TaskConfig
from m6rec_core.generation.answers import STOP
from m6rec_core.metrics.text import TOKENIZERS


class WritingConfig(TaskConfig):
    """`decoding`: how texts are written. `best`: how many a prediction holds at most, best first, none twice.

    `metric_tokens`: the tokenisation of the text metrics (`m6rec_core.metrics.text.TOKENIZERS`), None for each metric's
    own; set it to "zh" for Chinese.
    """

    decoding: DecodingConfig = DecodingConfig(stop=STOP)
    best: int = Field(default=1, ge=1)
    metric_tokens: str | None = None

    @field_validator("metric_tokens")
    @classmethod
    def _known(cls, name: str | None) -> str | None:
        if name is not None and name not in TOKENIZERS:
            raise ValueError(f"tokenisation {name!r} is not known; choose one of {', '.join(TOKENIZERS)}")
        return name
