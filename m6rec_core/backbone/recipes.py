"""Backbones that other packages bring by name: entry points of group `m6rec.backbones`, read without importing any.

[project.entry-points."m6rec.backbones"]
our-decoder = "our_backbones:OUR_DECODER"
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from m6rec_core.errors import BackboneError, M6RecError, RegistryError
from m6rec_core.registry import TaskEntry, discover, load_entry, one_line

GROUP = "m6rec.backbones"
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class BackboneRecipe:
    """A backbone by name, and how to get its folder.

    `folder(say)` returns a folder as transformers saves one: config.json, weights as safetensors, the tokenizer's
    files. It fetches or builds the folder where it is not there yet (once, whole or not at all), tells the user what
    takes long with `say`, and raises an M6RecError with the cure when it cannot. `terms` are told whenever the backbone
    is used.
    """

    name: str
    terms: str
    folder: Callable[[Say], Path]


def recipe_entries() -> tuple[TaskEntry, ...]:
    """The installed entry points, as package metadata describe them."""
    return discover(GROUP)


def recipe_folder(name: str, shipped: bool, say: Say) -> Path | None:
    """The folder of the backbone that an installed package brings under `name`; None where no package does.

    `shipped`: whether the core has a backbone of this name. Raises RegistryError for a name that is offered twice, and
    for an entry that is refused, broken or no recipe; BackboneError when the recipe does not give a folder.
    """
    offers = [entry for entry in recipe_entries() if entry.name == name]
    if shipped:
        _refuse_second([entry for entry in offers if entry.state != "not allowed"], name)
        return None
    if not offers:
        return None
    recipe = load_entry(GROUP, name)
    owner = f"backbone {name!r} of {offers[0].distribution} {offers[0].version}"
    if not isinstance(recipe, BackboneRecipe):
        kind = type(recipe).__name__
        raise RegistryError(
            f"{owner}: {offers[0].module} is a {kind}, not a m6rec_core.backbone.recipes.BackboneRecipe"
        )
    if recipe.name != name:
        raise RegistryError(f"{owner}: its recipe is called {recipe.name!r}; make it and the entry point's name agree")
    if recipe.terms:
        say(f"terms       {name}: {recipe.terms}")
    try:
        folder = Path(recipe.folder(say))
    except M6RecError:
        raise
    except Exception as error:  # whatever a stranger's function does must name its owner
        raise BackboneError(f"{owner} cannot be had: its recipe failed with {one_line(error)}") from error
    if not (folder / "config.json").is_file():
        raise BackboneError(f"{owner}: its recipe gave {folder}, which holds no config.json; ask its authors")
    return folder


def _refuse_second(offers: list[TaskEntry], name: str) -> None:
    if offers:
        owner = offers[0].distribution
        raise RegistryError(
            f"backbone {name!r} is offered by m6rec-core and {owner}; uninstall {owner}, or leave it out of "
            "M6REC_PLUGINS"
        )
