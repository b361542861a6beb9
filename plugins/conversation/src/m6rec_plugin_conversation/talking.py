"""A dialogue that goes on: turns are added one by one, replies are streamed, films come from a catalogue."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from m6rec_core.config import DecodingConfig
from m6rec_core.errors import DataError
from m6rec_core.generation import STOP, answer_text, prompt_row
from m6rec_core.metrics.text.novelty import normalised
from m6rec_core.text.template import clean
from m6rec_core.types import Item
from m6rec_plugin_conversation.catalogue import without
from m6rec_plugin_conversation.sample import DialogueSample, Speaker, Turn
from m6rec_plugin_conversation.serialize import serialize, title_prompt
from m6rec_plugin_conversation.settings import ConversationConfig

if TYPE_CHECKING:
    from m6rec_core.serving.opening import Opened


@dataclass(frozen=True, slots=True)
class Reply:
    """What was answered: the text; the likeliest `films` of the catalogue; titles of the catalogue that the text
    names."""

    text: str
    films: tuple[str, ...] = ()
    named: tuple[str, ...] = ()


class Talk:
    """The state of one dialogue with a pack."""

    def __init__(
        self, opened: Opened, catalogue: Sequence[str], count: int, only_catalogue: bool, facts: Sequence[str] = ()
    ) -> None:
        """Begin. `count`: films per reply. `only_catalogue`: a reply is `count` titles at most, written by the trie of
        those that were not named yet."""
        self.only_catalogue = only_catalogue
        self.said = Reply("")
        self._generate = opened.model.generate(opened.task.name)
        self._config = cast(ConversationConfig, opened.settings)
        self._catalogue, self._count, self._facts = tuple(catalogue), count, tuple(facts)
        self._turns: tuple[Turn, ...] = ()
        # Beams cannot be streamed: a pack tuned with them is asked for its likeliest next token instead.
        self._decoding = self._config.decoding
        if self._decoding.method == "beam":
            self._decoding = self._decoding.model_copy(update={"method": "greedy", "texts": 1})

    @property
    def turns(self) -> tuple[Turn, ...]:
        """All turns so far, oldest first."""
        return self._turns

    def reply(self, text: str) -> Iterator[str]:
        """Yield the reply to a turn of the seeker piece by piece; `said` holds the whole afterwards.

        Raises DataError for a blank turn, and for one that exceeds the budget; the dialogue then stays as it was.
        """
        if not clean(text):
            raise DataError("the turn is blank; say something, or /quit")
        asked = DialogueSample(
            id="chat", user_facts=self._facts, turns=(*self._turns, self._turn("seeker", text)), reply=None
        )
        if self.only_catalogue:
            films = self._films(asked, asked.named)
            said = " or ".join(films) or "I know no other film."
            yield said
        else:
            written: list[str] = []
            row = prompt_row(serialize(asked, self._config).rows[0])
            for piece in self._generate.stream(row, self._decoding):
                written.append(piece)
                begun = len(written) > 1
                yield piece if begun else piece.lstrip()
            said = clean("".join(written))
            films = self._films(asked, (*asked.named, *self._named(said))) if self._catalogue else ()
        self.said = Reply(said, films, self._named(said))
        self._turns = (*asked.turns, self._turn("recommender", said)) if said else asked.turns

    def _turn(self, speaker: Speaker, text: str) -> Turn:
        items = tuple(Item(item_id=title, fields={"title": title}) for title in self._named(text))
        return Turn(speaker=speaker, text=text, items=items)

    def _named(self, text: str) -> tuple[str, ...]:
        """Titles of the catalogue that a text holds, whole words, whatever their case and punctuation."""
        words = f" {normalised(text)} "
        return tuple(title for title in self._catalogue if f" {normalised(title)} " in words)

    def _films(self, asked: DialogueSample, named: Sequence[str]) -> tuple[str, ...]:
        """The likeliest titles of the catalogue after the dialogue, best first, without those in `named`."""
        left = tuple(answer_text(title) for title in without(self._catalogue, named))
        if not left:
            return ()
        wide = min(max(2 * self._count, 4), len(left))
        config = DecodingConfig(method="beam", beams=wide, texts=min(self._count, wide), length_penalty=0.0, stop=STOP)
        [texts] = self._generate.write([title_prompt(asked, self._config)], config, left)
        return tuple(clean(one.text) for one in texts)
