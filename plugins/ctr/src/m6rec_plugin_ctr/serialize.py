"""A sample as text, in two forms.

in-context (compact; a pretrained language model continues the pattern):

    A 24 year old male technician
    Toy Story, good: liked
    GoldenEye, mixed: disliked
    Titanic, great:

paper (section 3.2, scoring tasks): sentences between [BOS'] and [EOS'], the candidate between [BOS] and [EOS].

Each event is one segment, so that segments can be dropped, shared and cached as a whole. In the in-context form a
candidate's line is the beginning of the line it will have in the history, which lets neighbouring samples share their
computation.
"""

from __future__ import annotations

from collections.abc import Mapping

from m6rec_core.config import Domain
from m6rec_core.errors import ConfigError
from m6rec_core.text.phrasing import (
    ago,
    event_phrase,
    item_phrase,
    month_word,
    outcome_word,
    rate_adjective,
    rate_word,
    short_item,
    user_phrase,
    user_rate_word,
)
from m6rec_core.types import Event, Item, Region, Segment, Serialized, TextRow
from m6rec_plugin_ctr.sample import CtrSample
from m6rec_plugin_ctr.settings import CtrConfig


def serialize(sample: CtrSample, config: CtrConfig) -> Serialized:
    """Write the sample in the configured form; the label is never looked at."""
    if config.domain is None:
        raise ConfigError("the settings name no domain; set settings.domain or give the data set one in dataset.json")
    row = _paper(sample, config, config.domain) if config.form == "paper" else _lines(sample, config, config.domain)
    return Serialized((row,))


def _lines(sample: CtrSample, config: CtrConfig, domain: Domain) -> TextRow:
    segments: list[Segment] = []
    person = user_phrase(domain, sample.user) if config.user_phrase else ""
    if person:
        segments.append(Segment(f"{person}\n", Region.BIDIRECTIONAL))
    for event in sample.history:
        line = _line(event.item, event.statistics if config.item_words and config.history_words else {}, config, domain)
        outcome = "" if event.liked is None else " " + outcome_word(domain, event.liked)
        age = sample.timestamp - event.timestamp
        segments.append(Segment(f"{line}:{outcome}\n", Region.BIDIRECTIONAL, droppable=True, age=age))
    target = _line(sample.candidate, sample.statistics if config.item_words else {}, config, domain)
    stats = sample.statistics
    if config.user_words and "user_rate" in stats:
        target += "; " + user_rate_word(stats["user_rate"], stats.get("user_count", 0.0), domain).rstrip(".")
    segments.append(Segment(f"{target}:", Region.AUTOREGRESSIVE))
    return TextRow(tuple(segments), markers=False)


def _line(item: Item, statistics: Mapping[str, float], config: CtrConfig, domain: Domain) -> str:
    line = short_item(domain, item)
    if "item_rate" not in statistics:
        return line
    rate, count = statistics["item_rate"], statistics.get("item_count", 0.0)
    word = rate_adjective(rate, count) if config.short_words else rate_word(rate, count, domain)
    return f"{line}, {word}"


def _paper(sample: CtrSample, config: CtrConfig, domain: Domain) -> TextRow:
    source = [Segment(f"{month_word(sample.timestamp)}. ", Region.BIDIRECTIONAL)]
    person = user_phrase(domain, sample.user) if config.user_phrase else ""
    source.append(Segment(f"{person or 'A user'}, ", Region.BIDIRECTIONAL))
    source.extend(
        Segment(
            _past(event, sample.timestamp, domain),
            Region.BIDIRECTIONAL,
            droppable=True,
            age=sample.timestamp - event.timestamp,
        )
        for event in sample.history
    )
    stats = sample.statistics
    target = [f"The user is now recommended {item_phrase(domain, sample.candidate)}."]
    if config.item_words and "item_rate" in stats:
        word = rate_word(stats["item_rate"], stats.get("item_count", 0.0), domain)
        target.append(f" The {domain.noun} is {word}.")
    if config.user_words and "user_rate" in stats:
        target.append(" " + user_rate_word(stats["user_rate"], stats.get("user_count", 0.0), domain))
    return TextRow((*source, *(Segment(text, Region.AUTOREGRESSIVE) for text in target)))


def _past(event: Event, now: float, domain: Domain) -> str:
    return f"{event_phrase(domain, event, event.liked)} {ago(now - event.timestamp)}, "
