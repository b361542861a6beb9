"""The domains: how movies and products are spoken about, and how other packages add theirs.

A domain is data (`m6rec_core.config.Domain`). A package adds one with an entry point:

    [project.entry-points."m6rec.domains"]
    recipes = "my_package.domain:RECIPES"

The two shipped domains are found even where the package metadata is missing (a source tree that was not installed).
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from types import MappingProxyType

from m6rec_core.config import Domain
from m6rec_core.errors import ConfigError, RegistryError
from m6rec_core.registry import CORE, TaskEntry, discover, load_entry
from m6rec_core.text.template import problem

GROUP = "m6rec.domains"

MOVIES = Domain(
    name="movies",
    noun="movie",
    people="viewers",
    item='a movie[ named "{title}"][ ({year})][ of genre {genres}]',
    short_item="{title}",
    user="A(n) [{age} year old ][{gender} ][{occupation}|viewer]",
    events={"rating": "rated", "event": "watched", "view": "watched", "click": "clicked"},
    liked="liked",
    disliked="disliked",
)
"""Films. The short phrase has no year: it costs six tokens a line and measured no better."""

PRODUCTS = Domain(
    name="products",
    noun="product",
    people="customers",
    item='a product[ of category "{category}"][ named "{title}"]',
    short_item="{title}",
    user="A(n) [{age} year old ][{gender} ][{occupation}|customer][ in {city}]",
    events={
        "event": "looked at",
        "impression": "was shown",
        "view": "looked at",
        "click": "clicked",
        "cart": "added to the cart",
        "purchase": "purchased",
        "rating": "rated",
        "search": 'searched "{query}"',
    },
    liked="yes",
    disliked="no",
)
"""Goods of a shop, in the words of the paper's section 3.2. The outcome words answer "clicked?", "bought?"."""

SHIPPED: Mapping[str, Domain] = MappingProxyType({domain.name: domain for domain in (MOVIES, PRODUCTS)})


def domain_names() -> tuple[str, ...]:
    """Return the names of all domains that can be loaded, shipped ones first, without importing any."""
    return tuple(dict.fromkeys([*SHIPPED, *sorted(entry.name for entry in _foreign())]))


def load_domain(name: str) -> Domain:
    """Return the domain called `name`.

    Raises ConfigError for an unknown name (with near names), RegistryError when two packages offer the name, when the
    package is refused or fails to import, or when it gives something that is no valid `Domain`.
    """
    foreign = [entry for entry in discover(GROUP) if entry.name == name and entry.distribution != CORE]
    allowed = [entry for entry in foreign if entry.state != "not allowed"]
    if name in SHIPPED:
        if allowed:
            raise RegistryError(
                f"domain {name!r} is offered by {CORE} and {allowed[0].distribution}; uninstall one of them"
            )
        return SHIPPED[name]
    if not foreign:
        names = domain_names()
        near = difflib.get_close_matches(name, names, 1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ConfigError(f"no domain is called {name!r}{hint} (known: {', '.join(names)})")
    domain = load_entry(GROUP, name)
    owner, value = (allowed or foreign)[0].distribution, (allowed or foreign)[0].module
    if not isinstance(domain, Domain):
        raise RegistryError(f"domain {name!r} of {owner}: {value} is a {type(domain).__name__}, not a Domain")
    return check_domain(domain, owner)


def check_domain(domain: Domain, owner: str) -> Domain:
    """Return `domain` when its templates are well formed, else raise ConfigError naming `owner` and the template."""
    templates = {"item": domain.item, "short_item": domain.short_item, "user": domain.user}
    templates |= {f"events.{kind}": phrase for kind, phrase in domain.events.items()}
    for field, template in templates.items():
        wrong = problem(template)
        if wrong:
            raise ConfigError(f"{owner}: domain {domain.name!r}, template {field!r} has {wrong}: {template!r}")
    return domain


def _foreign() -> tuple[TaskEntry, ...]:
    """The domains of other packages that may be used."""
    return tuple(entry for entry in discover(GROUP) if entry.distribution != CORE and entry.state != "not allowed")
