"""A sample as text, in two forms. The query is the scored part; the rest never looks at it.

lines (a pretrained language model continues the pattern):

    looked at a product named "walking boots"
    Need: i want something that keeps my feet dry
    Search query: waterproof socks

paper (section 3.2, generation tasks): "[BOS'] ... [EOS'] [BOS] The user now searches the query _____ [EOS]".
"""

from __future__ import annotations

from m6rec_core.config import Domain
from m6rec_core.errors import ConfigError
from m6rec_core.generation import answer_row
from m6rec_core.text.phrasing import ago, event_phrase, month_word, user_phrase
from m6rec_core.text.template import clean
from m6rec_core.types import Event, Region, Segment, Serialized
from m6rec_plugin_query_generation.sample import QuerySample
from m6rec_plugin_query_generation.settings import QueryConfig


def serialize(sample: QuerySample, config: QueryConfig) -> Serialized:
    """Write the sample in the configured form, the query at the end where it is known."""
    if config.domain is None:
        raise ConfigError("the settings name no domain; set settings.domain or give the data set one in dataset.json")
    write = _paper if config.form == "paper" else _lines
    return Serialized((answer_row(write(sample, config, config.domain), sample.query, config.form == "paper"),))


def _lines(sample: QuerySample, config: QueryConfig, domain: Domain) -> list[Segment]:
    segments: list[Segment] = []
    person = user_phrase(domain, sample.user)
    if person:
        segments.append(Segment(f"{person}\n", Region.BIDIRECTIONAL))
    segments += [_source(f"{event_phrase(domain, event)}\n", droppable=True) for event in sample.history]
    need = clean(sample.need)
    if need:
        segments.append(_source(f"{config.need_words} {need}\n"))
    segments.append(Segment(config.query_words, Region.AUTOREGRESSIVE))
    return segments


def _paper(sample: QuerySample, config: QueryConfig, domain: Domain) -> list[Segment]:
    del config
    segments: list[Segment] = []
    if sample.timestamp is not None:
        segments.append(_source(f"{month_word(sample.timestamp)}. "))
    segments.append(_source(f"{user_phrase(domain, sample.user) or 'A user'}, "))
    segments += [_source(_past(event, sample.timestamp, domain), droppable=True) for event in sample.history]
    need = clean(sample.need)
    if need:
        segments.append(_source(f"who says: {need}"))
    segments.append(Segment("The user now searches the query", Region.AUTOREGRESSIVE))
    return segments


def _past(event: Event, now: float | None, domain: Domain) -> str:
    when = "" if now is None else f" {ago(now - event.timestamp)}"
    return f"{event_phrase(domain, event)}{when}, "


def _source(text: str, droppable: bool = False) -> Segment:
    return Segment(text, Region.BIDIRECTIONAL, droppable=droppable)
