"""Phrases: items, users, events, rates, times. Everything a task writes about behaviour comes from here.

Text of users and items is put on one line (`m6rec_core.text.template.clean`); a field that is missing drops its clause.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from datetime import UTC, datetime

from m6rec_core.config import Domain
from m6rec_core.errors import DataError
from m6rec_core.text.template import field_names, render
from m6rec_core.types import Event, Item

RATE_EDGES = (0.25, 0.38, 0.48, 0.58, 0.68, 0.80)
"""Borders between the seven steps of a rate. A frozen language model reads words of this kind; percentages it hardly
does."""

RATE_WORDS = (
    "hated by most {people}",
    "disliked by most {people}",
    "liked by few {people}",
    "liked by some {people}",
    "liked by many {people}",
    "liked by most {people}",
    "loved by most {people}",
)
RATE_ADJECTIVES = ("terrible", "bad", "poor", "mixed", "decent", "good", "great")
"""The same seven steps in one token each, for compact lines."""

USER_RATE_WORDS = (
    "The user hates most {noun}s.",
    "The user dislikes most {noun}s.",
    "The user likes few {noun}s.",
    "The user likes some {noun}s.",
    "The user likes many {noun}s.",
    "The user likes most {noun}s.",
    "The user loves most {noun}s.",
)
NEW_ITEM = "new"
NEW_USER = "The user is new."

_MONTHS = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip
_UNITS = (("year", 31_557_600), ("month", 2_629_800), ("day", 86_400), ("hour", 3_600), ("minute", 60))


def item_phrase(domain: Domain, item: Item) -> str:
    """Return the item inside a sentence: 'a movie named "Heat" (1995) of genre Action'. "a movie" when nothing is
    known."""
    return render(domain.item, item.fields) or _nameless(domain)


def short_item(domain: Domain, item: Item) -> str:
    """Return the item in its compact in-context form: "Heat". "unnamed movie" when the title is missing."""
    return render(domain.short_item, item.fields) or f"unnamed {domain.noun}"


def user_phrase(domain: Domain, fields: Mapping[str, str]) -> str:
    """Return "A 24 year old male technician", or "" when the domain has no user phrase or nothing is known of the
    user."""
    text = render(domain.user, fields)
    if not text or not any(fields.get(name, "").strip() for name in field_names(domain.user)):
        return ""
    return text


def event_phrase(domain: Domain, event: Event, outcome: bool | None = None) -> str:
    """Return what the user did: 'clicked a product named "boots"', and ': yes' after it when `outcome` is given.

    A phrase of the domain with fields of its own ('searched "{query}"') is filled from the item's columns and stands
    without the item phrase. A kind the domain does not know is written as it is, with blanks for `_` and `-`.
    """
    verb = domain.events.get(event.kind) or event.kind.replace("_", " ").replace("-", " ")
    if "{" in verb:
        text = render(verb, event.item.fields) or f"{event.kind} {_nameless(domain)}"
    else:
        text = f"{verb} {item_phrase(domain, event.item)}"
    return text if outcome is None else f"{text}: {outcome_word(domain, outcome)}"


def outcome_word(domain: Domain, outcome: bool) -> str:
    """Return the domain's word for a positive or negative outcome ("liked", "disliked")."""
    return domain.liked if outcome else domain.disliked


def rate_word(rate: float, count: float, domain: Domain) -> str:
    """Return how an item is judged, in one of seven steps ("loved by most viewers"); "new" when `count` is 0."""
    if count <= 0:
        return NEW_ITEM
    return RATE_WORDS[bisect_left(RATE_EDGES, rate)].format(people=domain.people)


def rate_adjective(rate: float, count: float) -> str:
    """Return how an item is judged, as one of seven adjectives ("great"); "new" when `count` is 0."""
    return NEW_ITEM if count <= 0 else RATE_ADJECTIVES[bisect_left(RATE_EDGES, rate)]


def user_rate_word(rate: float, count: float, domain: Domain) -> str:
    """Return how a user judges, in one of seven steps ("The user likes most movies."); a fixed sentence when new."""
    if count <= 0:
        return NEW_USER
    return USER_RATE_WORDS[bisect_left(RATE_EDGES, rate)].format(noun=domain.noun)


def ago(seconds: float) -> str:
    """Return a span before now in its largest whole unit: "23 minutes ago" (paper 3.2). Below a minute: "just now"."""
    for unit, length in _UNITS:
        count = int(seconds // length)
        if count >= 1:
            return f"{count} {unit}{'s' if count > 1 else ''} ago"
    return "just now"


def month_word(timestamp: float) -> str:
    """Return the month of a Unix timestamp in UTC: "December" (paper 3.2)."""
    return _MONTHS[_month(timestamp) - 1]


def season_word(timestamp: float) -> str:
    """Return the northern season of a Unix timestamp in UTC, by whole months: "winter" is December to February."""
    return ("winter", "spring", "summer", "autumn")[_month(timestamp) % 12 // 3]


def _month(timestamp: float) -> int:
    try:
        return datetime.fromtimestamp(timestamp, UTC).month
    except (OverflowError, ValueError, OSError) as error:
        raise DataError(f"timestamp {timestamp:g} is no date; give seconds since 1970") from error


def _nameless(domain: Domain) -> str:
    return f"{'an' if domain.noun[:1].lower() in 'aeiou' else 'a'} {domain.noun}"
