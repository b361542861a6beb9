"""What goes in and what comes out of the task."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator, model_validator

from m6rec_core.generation import TextPrediction
from m6rec_core.text.template import clean
from m6rec_core.types import FrozenModel, Item, Sample

Speaker = Literal["seeker", "recommender"]


class Turn(FrozenModel):
    """What one speaker says before the other one speaks. `items`: the films it names, with what is known of them."""

    speaker: Speaker
    text: str
    items: tuple[Item, ...] = ()

    @field_validator("text")
    @classmethod
    def _says_something(cls, text: str) -> str:
        if not clean(text):
            raise ValueError("the turn says nothing; leave it out")
        return text


class DialogueSample(Sample):
    """A dialogue so far, oldest turn first, and the recommender's reply to it (None: to write).

    `user_facts`: sentences about the seeker. `recommended`: titles that the reply is the first to name. `candidates`:
    titles to rank by their likelihood; such a sample is asked for a ranking and not for a text. `dialogue`: samples of
    one dialogue are drawn together. There is at least one turn; reply and titles are not blank, no title comes twice.
    """

    turns: tuple[Turn, ...]
    dialogue: str = ""
    user_facts: tuple[str, ...] = ()
    reply: str | None = None
    recommended: tuple[str, ...] = ()
    candidates: tuple[str, ...] = ()

    @property
    def group(self) -> str:
        """Samples of one dialogue share its turns."""
        return self.dialogue or self.id

    @property
    def named(self) -> tuple[str, ...]:
        """Titles of the films that the turns name, each once."""
        return tuple(dict.fromkeys(title for turn in self.turns for item in turn.items if (title := title_of(item))))

    @field_validator("turns")
    @classmethod
    def _has_turns(cls, turns: tuple[Turn, ...]) -> tuple[Turn, ...]:
        if not turns:
            raise ValueError("there are no turns; a reply needs at least one to answer")
        return turns

    @field_validator("recommended", "candidates")
    @classmethod
    def _are_titles(cls, titles: tuple[str, ...]) -> tuple[str, ...]:
        cleaned = tuple(clean(title) for title in titles)
        if not all(cleaned):
            raise ValueError("a title is blank; leave it out")
        double = next((title for place, title in enumerate(cleaned) if title in cleaned[:place]), None)
        if double is not None:
            raise ValueError(f"the title {double!r} is there twice; give it once")
        return cleaned

    @model_validator(mode="after")
    def _reply_says_something(self) -> DialogueSample:
        if self.reply is not None and not clean(self.reply):
            raise ValueError("the reply is blank; leave it out where it is not known")
        return self


class DialoguePrediction(TextPrediction):
    """The reply to a sample in `texts`; for a sample with candidates, those in `titles`, best first, with scores."""

    titles: tuple[str, ...] = Field(default=())
    title_scores: tuple[float, ...] = Field(default=())


def title_of(item: Item) -> str:
    """The title of a film on one line, "" where it has none."""
    return clean(item.fields.get("title", ""))
