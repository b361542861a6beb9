"""Text-to-image pipelines by name, brought by packages (entry points of the group `m6rec.image_pipelines`)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, cast

from m6rec_core.errors import RegistryError
from m6rec_core.registry import load_entry

GROUP = "m6rec.image_pipelines"


class Picture(Protocol):
    """A picture as PIL has it."""

    def save(self, fp: str, format: str) -> None:
        """Write it into a file."""
        ...


Painter = Callable[[str, int], Picture]
"""(text, seed) -> picture; the same for the same arguments."""


def open_pipeline(name: str) -> Painter:
    """Open the pipeline called "NAME" or "NAME:SOURCE": the entry point is a function of the source that gives a
    `Painter`; the source, "" for none, is what the pipeline wants (a folder, say).

    Raises RegistryError for a name nobody offers, or one that gives no painter, and what the pipeline itself raises.
    """
    entry, _, source = name.partition(":")
    make = load_entry(GROUP, entry)
    if not callable(make):
        raise RegistryError(f"image pipeline {entry!r}: it is a {type(make).__name__}, not a function of a source")
    painter = make(source)
    if not callable(painter):
        raise RegistryError(f"image pipeline {entry!r}: it made a {type(painter).__name__}, not a function that paints")
    return cast(Painter, painter)
