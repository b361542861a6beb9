"""What goes in and what comes out of the task."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field, model_validator

from m6rec_core.generation import TextPrediction
from m6rec_core.text.template import clean
from m6rec_core.types import Event, Sample


class DesignSample(Sample):
    """What a user did (oldest first), what the product shall be like, or both; and the product that followed.

    `user` holds text columns of the user, `attributes` wishes by name ({"colour": "blue"}), `timestamp` when the
    product was bought, in seconds since 1970. `title` is the answer; None: to design. `category` belongs to the answer
    where there is a title, and is given where there is none: then the title alone is written.
    """

    user: Mapping[str, str] = Field(default_factory=dict)
    history: tuple[Event, ...] = ()
    attributes: Mapping[str, str] = Field(default_factory=dict)
    timestamp: float | None = None
    category: str = ""
    title: str | None = None

    @model_validator(mode="after")
    def _says_something(self) -> DesignSample:
        wishes = any(clean(text) for text in (*self.attributes.values(), self.category))
        if not self.history and not wishes:
            raise ValueError("there is neither a history nor an attribute nor a category; give one of them")
        if self.title is not None and not clean(self.title):
            raise ValueError("the title is blank; leave it out where it is not known")
        return self


class DesignPrediction(TextPrediction):
    """The products designed for a sample: `texts` are their titles, best first, none twice, with log p of what was
    written; `categories` the category of each, "" where none was written. `answer` counts category and title."""

    categories: tuple[str, ...] = ()
