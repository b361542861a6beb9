"""The domains: how movies and products are spoken about, and how other packages add theirs.

A domain is data (`m6rec_core.config.Domain`). A package adds one with an entry point:

    [project.entry-points."m6rec.domains"]
    recipes = "my_package.domain:RECIPES"

The two shipped domains are found even where the package metadata is missing (a source tree that was not installed).
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points
from types import MappingProxyType

from m6rec_core.config import Domain
from m6rec_core.errors import ConfigError, RegistryError
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
    return tuple(dict.fromkeys([*SHIPPED, *sorted(point.name for point in entry_points(group=GROUP))]))


def load_domain(name: str) -> Domain:
    """Return the domain called `name`.

    Raises ConfigError for an unknown name (with near names), RegistryError when two packages offer the name, when the
    package fails to import, or when it gives something that is no valid `Domain`.
    """
    points = [point for point in entry_points(group=GROUP) if point.name == name]
    foreign = {point.value: point for point in points if not point.value.startswith("m6rec_core.")}
    if name in SHIPPED and not foreign:
        return SHIPPED[name]
    if not foreign:
        names = domain_names()
        near = difflib.get_close_matches(name, names, 1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ConfigError(f"no domain is called {name!r}{hint} (known: {', '.join(names)})")
    if len(foreign) > 1 or name in SHIPPED:
        owners = sorted({_owner(point) for point in points} | ({"m6rec-core"} if name in SHIPPED else set()))
        raise RegistryError(f"domain {name!r} is offered by {' and '.join(owners)}; uninstall one of them")
    return _import(next(iter(foreign.values())))


def check_domain(domain: Domain, owner: str) -> Domain:
    """Return `domain` when its templates are well formed, else raise ConfigError naming `owner` and the template."""
    templates = {"item": domain.item, "short_item": domain.short_item, "user": domain.user}
    templates |= {f"events.{kind}": phrase for kind, phrase in domain.events.items()}
    for field, template in templates.items():
        wrong = problem(template)
        if wrong:
            raise ConfigError(f"{owner}: domain {domain.name!r}, template {field!r} has {wrong}: {template!r}")
    return domain


def _import(point: EntryPoint) -> Domain:
    try:
        domain = point.load()
    except Exception as error:  # whatever a foreign module raises on import must not look like our own fault
        detail = " ".join(str(error).split())
        raise RegistryError(
            f"domain {point.name!r} of {_owner(point)} cannot be imported from {point.value}: "
            f"{type(error).__name__}: {detail}; repair or uninstall that package"
        ) from error
    if not isinstance(domain, Domain):
        kind = type(domain).__name__
        raise RegistryError(f"domain {point.name!r} of {_owner(point)}: {point.value} is a {kind}, not a Domain")
    return check_domain(domain, _owner(point))


def _owner(point: EntryPoint) -> str:
    return point.dist.name if point.dist is not None else point.value
