"""A sample as text (paper 3.2, retrieval tasks): a row for each item of the user's events, or one for the user, and a
row for each candidate.

    Toy Story            source region, read out up to its last token or [EOS']
    GoldenEye

    Heat (1995), Action Crime Thriller      target region with an empty source, read out up to its last token or [EOS]

With `user` "events" the row of an event is that of its item; such rows recur, and each is computed once. With "text" an
event is one segment of the user's row.
"""

from __future__ import annotations

from collections.abc import Sequence

from m6rec_core.config import Domain
from m6rec_core.errors import ConfigError, DataError
from m6rec_core.text.phrasing import rate_adjective, short_item, user_phrase
from m6rec_core.text.template import clean
from m6rec_core.types import Event, Item, Readout, Region, Segment, Serialized, TextRow
from m6rec_plugin_retrieval.sample import RetrievalSample
from m6rec_plugin_retrieval.settings import RetrievalConfig

POPULARITY = "popularity"
"""The item field that holds how often an item occurs, in words (`m6rec_plugin_retrieval.derive`)."""


def serialize(sample: RetrievalSample, config: RetrievalConfig) -> Serialized:
    """The user's row where there is a history, or one for each of its events; then the candidate's, the negatives'."""
    if config.domain is None:
        raise ConfigError("the settings name no domain; set settings.domain or give the data set one in dataset.json")
    if config.user == "events":
        rows = [_item(event.item, config, config.domain) for event in sample.history[-config.longest :]]
    else:
        rows = [_user(sample, config, config.domain)] if sample.history else []
    items = [] if sample.candidate is None else [sample.candidate, *sample.negatives]
    rows.extend(_item(item, config, config.domain) for item in items)
    if not rows:
        raise DataError(f"sample {sample.id}: neither a history nor a candidate; give one of them")
    return Serialized(tuple(rows))


def item_text(item: Item, config: RetrievalConfig) -> str:
    """The text of an item, on one line. Raises ConfigError without a domain."""
    if config.domain is None:
        raise ConfigError("the settings name no domain; set settings.domain or give the data set one in dataset.json")
    return "".join(segment.text for segment in _item(item, config, config.domain).segments).strip()


def check_texts(source: object, items: Sequence[Item]) -> None:
    """Raise DataError naming the first item that has no text at all: nothing can be said of it."""
    for item in items:
        if not any(value.strip() for value in item.fields.values()):
            raise DataError(f"{source}: item {item.item_id!r} has no text: fill at least one column, or leave it out")


def _user(sample: RetrievalSample, config: RetrievalConfig, domain: Domain) -> TextRow:
    person = user_phrase(domain, sample.user) if config.user_phrase else ""
    segments = [Segment(f"{person}\n", Region.BIDIRECTIONAL)] if person else []
    segments.extend(
        Segment(
            _line(event, config, domain),
            Region.BIDIRECTIONAL,
            droppable=place + 1 < len(sample.history),
            age=sample.timestamp - event.timestamp,
        )
        for place, event in enumerate(sample.history)
    )
    return TextRow(tuple(segments), Readout.SOURCE, config.markers, pooling=config.pooling)


def _line(event: Event, config: RetrievalConfig, domain: Domain) -> str:
    line = _described(short_item(domain, event.item), event.item, config.event_year, config.event_genres)
    if config.event_words and "item_rate" in event.statistics:
        line += ", " + rate_adjective(event.statistics["item_rate"], event.statistics.get("item_count", 0.0))
    return f"{line}\n"


def _item(item: Item, config: RetrievalConfig, domain: Domain) -> TextRow:
    line = _described(short_item(domain, item), item, config.item_year, config.item_genres)
    if config.item_words and item.fields.get(POPULARITY):
        line += ", " + item.fields[POPULARITY]
    segments = (Segment(f"{line}\n", Region.AUTOREGRESSIVE),)
    return TextRow(segments, Readout.TARGET, config.markers, pooling=config.pooling)


def _described(name: str, item: Item, year: bool, genres: bool) -> str:
    found = {field: clean(item.fields.get(field, "")) for field in ("year", "genres")}
    if year and found["year"]:
        name += f" ({found['year']})"
    return f"{name}, {found['genres']}" if genres and found["genres"] else name
