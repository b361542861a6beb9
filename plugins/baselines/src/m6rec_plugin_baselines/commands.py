"""What the two command lines of this package share: changed settings, and mistakes told in one line."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Protocol, TypeVar

from m6rec_core.errors import ConfigError, M6RecError


class Settings(Protocol):
    """Any dataclass."""

    __dataclass_fields__: ClassVar[dict[str, dataclasses.Field[Any]]]


SettingsT = TypeVar("SettingsT", bound=Settings)


def changed(settings: SettingsT, changes: Sequence[str]) -> SettingsT:
    """Return settings with `NAME=VALUE` changes. ConfigError for an unknown name or a value of the wrong type."""
    types = {name: type(value) for name, value in dataclasses.asdict(settings).items()}
    values: dict[str, Any] = {}
    for change in changes:
        name, _, text = change.partition("=")
        if name not in types:
            raise ConfigError(f"--set {change}: there is no setting {name!r} (there are: {', '.join(types)})")
        try:
            values[name] = text.lower() in ("1", "true", "yes") if types[name] is bool else types[name](text)
        except ValueError as error:
            raise ConfigError(f"--set {change}: expected a value of type {types[name].__name__}") from error
    return dataclasses.replace(settings, **values)


def ended(run: Callable[[], None]) -> int:
    """Run a command and return its exit code; an error the user can cure is one line."""
    try:
        run()
    except M6RecError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0
