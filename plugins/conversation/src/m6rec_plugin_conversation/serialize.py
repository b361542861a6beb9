"""A sample as text. The reply is the scored part; the rest never looks at it.

    A fact about the seeker.
    Seeker: I liked Heat (1995)
    (a movie named "Heat (1995)" of genre crime)
    Recommender:| Then try Collateral (2004)

The scored text is what follows the bar. Each film that the reply recommends has a row of its own, which begins alike:
"Recommender: I recommend| Collateral (2004)". For a sample with candidates there is one such row per candidate and no
reply. A turn and its facts are one segment, so that the budget drops whole turns, the oldest first, never the last one.
In the form "paper" the same text stands between markers.
"""

from __future__ import annotations

from m6rec_core.config import Domain
from m6rec_core.errors import ConfigError
from m6rec_core.generation import answer_segment
from m6rec_core.text.phrasing import item_phrase
from m6rec_core.text.template import clean
from m6rec_core.types import Region, Segment, Serialized, TextRow
from m6rec_plugin_conversation.sample import DialogueSample, Turn, title_of
from m6rec_plugin_conversation.settings import ConversationConfig


def serialize(sample: DialogueSample, config: ConversationConfig) -> Serialized:
    """Write the sample: the row of the reply, then one for each recommended film; or one for each candidate."""
    if config.domain is None:
        raise ConfigError("the settings name no domain; set settings.domain or give the data set one in dataset.json")
    source = _dialogue(sample, config, config.domain)
    if sample.candidates:
        return Serialized(tuple(title_row(source, title, config) for title in sample.candidates))
    rows = [_row(source, config.recommender_words, sample.reply, config)]
    if config.title_weight > 0.0:
        rows += [title_row(source, title, config) for title in sample.recommended]
    return Serialized(tuple(rows))


def title_prompt(sample: DialogueSample, config: ConversationConfig) -> TextRow:
    """The row that a title of the catalogue continues."""
    if config.domain is None:
        raise ConfigError("the settings name no domain; set settings.domain or give the data set one in dataset.json")
    return title_row(_dialogue(sample, config, config.domain), None, config)


def title_row(source: tuple[Segment, ...], title: str | None, config: ConversationConfig) -> TextRow:
    """The dialogue, `title_words`, and the title where it is given, scored."""
    return _row(source, config.title_words, title, config)


def _row(source: tuple[Segment, ...], lead: str, answer: str | None, config: ConversationConfig) -> TextRow:
    segments = [*source, Segment(lead, Region.AUTOREGRESSIVE)]
    if answer is not None:
        segments.append(answer_segment(answer))
    return TextRow(tuple(segments), markers=config.form == "paper")


def _dialogue(sample: DialogueSample, config: ConversationConfig, domain: Domain) -> tuple[Segment, ...]:
    facts = [clean(fact) for fact in sample.user_facts]
    segments = [Segment(f"{fact}\n", Region.BIDIRECTIONAL) for fact in facts if fact]
    known: set[str] = set()
    turns = [_turn(turn, config, domain, known) for turn in sample.turns]
    if config.newest_turns is not None:
        turns = turns[-config.newest_turns :]
    segments += [Segment(text, Region.BIDIRECTIONAL, droppable=True) for text in turns[:-1]]
    segments.append(Segment(turns[-1], Region.BIDIRECTIONAL))
    return tuple(segments)


def _turn(turn: Turn, config: ConversationConfig, domain: Domain, known: set[str]) -> str:
    """A turn on one line, and a line for each film that it is the first to name; `known` takes their titles."""
    speaker = config.seeker_words if turn.speaker == "seeker" else config.recommender_words
    lines = [f"{speaker} {clean(turn.text)}"]
    for item in turn.items if config.item_facts else ():
        title = title_of(item)
        told = any(name != "title" and clean(value) for name, value in item.fields.items())
        if told and title not in known:
            lines.append(f"({item_phrase(domain, item)})")
        known.add(title)
    return "\n".join(lines) + "\n"
