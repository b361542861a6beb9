"""A sample as text, in two forms. Category and title of the product are the scored part; the rest never looks at them.

lines (a pretrained language model continues the pattern):

    purchased: shoes | walking boots
    colour: blue
    next product (category | title): socks | blue merino hiking socks

paper (section 3.2): "[BOS'] ... [EOS'] [BOS] The user now purchases a product of category socks named blue merino
hiking socks [EOS]". What stands between category and title is written nowhere else, so a text can be taken apart.
"""

from __future__ import annotations

from m6rec_core.config import Domain
from m6rec_core.errors import ConfigError
from m6rec_core.generation import answer_row
from m6rec_core.text.phrasing import ago, event_phrase, month_word, user_phrase
from m6rec_core.text.template import clean
from m6rec_core.types import Event, Item, Region, Segment, Serialized
from m6rec_plugin_product_design.sample import DesignSample
from m6rec_plugin_product_design.settings import DesignConfig

BETWEEN = {"lines": (" | ", " / "), "paper": (" named ", " called ")}
"""Per form what parts category and title, and what is written for it inside of them."""


def serialize(sample: DesignSample, config: DesignConfig) -> Serialized:
    """Write the sample in the configured form, category and title at the end where they are known."""
    if config.domain is None:
        raise ConfigError("the settings name no domain; set settings.domain or give the data set one in dataset.json")
    write = _paper if config.form == "paper" else _lines
    segments = write(sample, config, config.domain)
    given = "" if sample.title is not None and not config.category_given else _plain(sample.category, config)
    if given:
        segments.append(Segment(f" {given}{BETWEEN[config.form][0].rstrip()}", Region.AUTOREGRESSIVE))
    return Serialized((answer_row(segments, answer_of(sample, config), config.form == "paper"),))


def answer_of(sample: DesignSample, config: DesignConfig) -> str | None:
    """Return the text that is scored: "category | title", or the title where the category is given or there is none."""
    if sample.title is None:
        return None
    return sample.title if config.category_given else joined(sample.category, sample.title, config)


def joined(category: str, title: str, config: DesignConfig) -> str:
    """Return category and title as one text; where there is no category the title, in the sentence after "named"."""
    category, title = _plain(category, config), _plain(title, config)
    if not category and config.form == "lines":
        return title
    return clean(f"{category}{BETWEEN[config.form][0]}{title}")


def parted(text: str, config: DesignConfig) -> tuple[str, str]:
    """Return category and title of a text as `joined` makes it; no category where nothing parts them."""
    category, between, title = f" {clean(text)}".partition(BETWEEN[config.form][0])
    return (clean(category), clean(title)) if between else ("", clean(text))


def item_texts(item: Item, config: DesignConfig) -> tuple[str, str]:
    """Return category and title of an item of the history, "" for what it lacks."""
    return clean(item.fields.get(config.category_field, "")), clean(item.fields.get(config.title_field, ""))


def _lines(sample: DesignSample, config: DesignConfig, domain: Domain) -> list[Segment]:
    segments: list[Segment] = []
    person = user_phrase(domain, sample.user)
    if person:
        segments.append(Segment(f"{person}\n", Region.BIDIRECTIONAL))
    segments += [_source(f"{_past_line(event, config, domain)}\n", droppable=True) for event in sample.history]
    segments += [_source(f"{name}: {text}\n") for name, text in _wishes(sample)]
    segments.append(Segment(config.ask_words, Region.AUTOREGRESSIVE))
    return segments


def _past_line(event: Event, config: DesignConfig, domain: Domain) -> str:
    category, title = item_texts(event.item, config)
    text = joined(category, title, config) if title else ""
    verb = domain.events.get(event.kind) or event.kind.replace("_", " ").replace("-", " ")
    return event_phrase(domain, event) if "{" in verb or not text else f"{verb}: {text}"


def _paper(sample: DesignSample, config: DesignConfig, domain: Domain) -> list[Segment]:
    segments: list[Segment] = []
    if sample.timestamp is not None:
        segments.append(_source(f"{month_word(sample.timestamp)}. "))
    segments.append(_source(f"{user_phrase(domain, sample.user) or 'A user'}, "))
    for event in sample.history:
        when = "" if sample.timestamp is None else f" {ago(sample.timestamp - event.timestamp)}"
        segments.append(_source(f"{event_phrase(domain, event)}{when}, ", droppable=True))
    segments += [_source(f"who wants {name} {text}, ") for name, text in _wishes(sample)]
    # Of a sample whose title is known the category is part of the answer, so the words must not depend on it.
    segments.append(Segment(f"The user now purchases a {domain.noun} of category", Region.AUTOREGRESSIVE))
    return segments


def _wishes(sample: DesignSample) -> list[tuple[str, str]]:
    return [(clean(name), clean(text)) for name, text in sample.attributes.items() if clean(text)]


def _plain(text: str, config: DesignConfig) -> str:
    between, instead = BETWEEN[config.form]
    return clean(text).replace(between, instead)


def _source(text: str, droppable: bool = False) -> Segment:
    return Segment(text, Region.BIDIRECTIONAL, droppable=droppable)
