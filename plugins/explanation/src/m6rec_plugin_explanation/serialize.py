"""A sample as text, in two forms. The explanation is the scored part; the rest never looks at it.

lines (a pretrained language model continues the pattern):

    A 28 year old customer of hourglass body type
    rented a garment of category "gown"
    a garment of category "romper"
    Product details: size 14, for a vacation
    The user cares about: pockets
    The user likes it because the pockets are deep.

paper (section 3.2): "[BOS'] April. A user, rented ... [EOS'] [BOS] The user now purchases a product of category "..."
named "...". Product details: ... The user likes it because ... [EOS]"; a wanted feature stands before "The user".
"""

from __future__ import annotations

from m6rec_core.config import Domain
from m6rec_core.errors import ConfigError
from m6rec_core.generation import answer_segment
from m6rec_core.text.phrasing import ago, event_phrase, item_phrase, month_word, user_phrase
from m6rec_core.text.template import clean
from m6rec_core.types import Event, Region, Segment, Serialized, TextRow
from m6rec_plugin_explanation.sample import ExplanationSample
from m6rec_plugin_explanation.settings import ExplanationConfig

DETAILS = ("details", "description")
"""Columns of an item that hold the seller's words, the first one that is there."""


def serialize(sample: ExplanationSample, config: ExplanationConfig) -> Serialized:
    """Write the sample in the configured form, the explanation at the end where it is known."""
    if config.domain is None:
        raise ConfigError("the settings name no domain; set settings.domain or give the data set one in dataset.json")
    write = _paper if config.form == "paper" else _lines
    segments = write(sample, config, config.domain)
    if sample.explanation is not None:
        segments.append(answer_segment(sample.explanation))
    return Serialized((TextRow(tuple(segments), markers=config.form == "paper"),))


def details_of(sample: ExplanationSample) -> str:
    """Return the details of the item, whole and on one line; "" where there are none."""
    return next((text for name in DETAILS if (text := clean(sample.item.fields.get(name, "")))), "")


def cut(text: str, limit: int) -> str:
    """Return the text, or where it has more than `limit` bytes its whole words of the first `limit` bytes.

    A text without blanks, like Chinese, is cut between characters.
    """
    content = text.encode()
    if len(content) <= limit:
        return text
    start = content[:limit].decode(errors="ignore")
    head, blank, _ = start.rpartition(" ")
    return head.rstrip() if blank and text[len(start)] != " " else start.rstrip()


def _lines(sample: ExplanationSample, config: ExplanationConfig, domain: Domain) -> list[Segment]:
    segments: list[Segment] = []
    person = user_phrase(domain, sample.user)
    if person:
        segments.append(_source(f"{person}\n"))
    segments += [_source(f"{event_phrase(domain, event)}\n", droppable=True) for event in _newest(sample, config)]
    segments.append(_source(f"{item_phrase(domain, sample.item)}\n"))
    details = cut(details_of(sample), config.details_bytes)
    if details:
        segments.append(_source(f"{config.details_words} {details}\n"))
    feature = clean(sample.feature or "")
    if feature:
        segments.append(_source(f"{config.feature_words} {feature}\n"))
    segments.append(_target(config.because_words))
    return segments


def _paper(sample: ExplanationSample, config: ExplanationConfig, domain: Domain) -> list[Segment]:
    segments: list[Segment] = []
    if sample.timestamp is not None:
        segments.append(_source(f"{month_word(sample.timestamp)}. "))
    segments.append(_source(f"{user_phrase(domain, sample.user) or 'A user'}"))
    segments += [_source(_past(event, sample, domain), droppable=True) for event in _newest(sample, config)]
    segments.append(_target(f"The user now purchases {item_phrase(domain, sample.item)}."))
    details = cut(details_of(sample), config.details_bytes)
    if details:
        segments.append(_target(f" {config.details_words} {details.rstrip('.')}."))
    feature = clean(sample.feature or "")
    if feature:
        segments.append(_target(f" {config.feature_words} {feature}."))
    segments.append(_target(f" {config.because_words}"))
    return segments


def _newest(sample: ExplanationSample, config: ExplanationConfig) -> tuple[Event, ...]:
    return sample.history[-config.events :] if config.events else ()


def _past(event: Event, sample: ExplanationSample, domain: Domain) -> str:
    when = "" if sample.timestamp is None else f" {ago(sample.timestamp - event.timestamp)}"
    return f", {event_phrase(domain, event)}{when}"


def _source(text: str, droppable: bool = False) -> Segment:
    return Segment(text, Region.BIDIRECTIONAL, droppable=droppable)


def _target(text: str) -> Segment:
    return Segment(text, Region.AUTOREGRESSIVE)
