"""What goes in and what comes out of the task."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field, model_validator

from m6rec_core.generation import TextPrediction
from m6rec_core.text.template import clean
from m6rec_core.types import Event, Sample


class QuerySample(Sample):
    """A need in words, what a user did (oldest first), or both; and the query that was typed (None: to write).

    `user` holds text columns of the user, `timestamp` when the query was typed, in seconds since 1970. One of `need`
    and `history` must say something; `query` is not blank.
    """

    need: str = ""
    user: Mapping[str, str] = Field(default_factory=dict)
    history: tuple[Event, ...] = ()
    timestamp: float | None = None
    query: str | None = None

    @model_validator(mode="after")
    def _says_something(self) -> QuerySample:
        if not clean(self.need) and not self.history:
            raise ValueError("there is neither a need nor a history; give one of them")
        if self.query is not None and not clean(self.query):
            raise ValueError("the query is blank; leave it out where it is not known")
        return self


class QueryPrediction(TextPrediction):
    """The queries written for a sample: `texts`, best first, none twice, with log p of each."""
