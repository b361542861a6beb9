"""What goes in and what comes out of the task."""

from __future__ import annotations

import math
from collections.abc import Mapping

from pydantic import Field, model_validator

from m6rec_core.generation import TextPrediction
from m6rec_core.text.template import clean
from m6rec_core.types import Event, Item, Sample


class ExplanationSample(Sample):
    """A user, what the user did before (oldest first), an item, and why the user likes it (None: to write).

    `user` holds text columns of the user. Of the item's columns `details` (`description` where there is none) follows
    "Product details:"; the domain writes the others. `feature`: what the explanation should mention, None for
    anything. `timestamp`: when, in seconds since 1970. `rating`: what the user gave, for whoever reads the file; it is
    never written.
    """

    user_id: str = ""
    user: Mapping[str, str] = Field(default_factory=dict)
    history: tuple[Event, ...] = ()
    item: Item
    feature: str | None = None
    timestamp: float | None = None
    rating: float | None = None
    explanation: str | None = None

    @model_validator(mode="after")
    def _in_order(self) -> ExplanationSample:
        if self.explanation is not None and not clean(self.explanation):
            raise ValueError("the explanation is blank; leave it out where it is not known")
        if self.feature is not None and not clean(self.feature):
            raise ValueError("the feature is blank; leave it out where none is wanted")
        times = [event.timestamp for event in self.history]
        if times != sorted(times):
            raise ValueError("the history is not oldest first; sort it by timestamp")
        if times and times[-1] > (math.inf if self.timestamp is None else self.timestamp):
            raise ValueError("the history has an event after the sample's own timestamp; leave it out")
        return self


class ExplanationPrediction(TextPrediction):
    """The explanations written for a sample: `texts`, best first, none twice, with log p of each."""
