"""A click group that knows its commands by name and imports one only when it is called."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

import click

from m6rec_core.errors import RegistryError

PLUGIN_COMMANDS = "m6rec.commands"


class LazyGroup(click.Group):
    """`table`: command name -> ("module:attribute", one line of help). Plugins add commands of group `m6rec.commands`.

    A plugin cannot replace a command of the table: the table wins and the help says so.
    """

    def __init__(self, *positional: Any, table: Mapping[str, tuple[str, str]], **settings: Any) -> None:
        """Take click's own settings and the table."""
        super().__init__(*positional, **settings)
        self._table = dict(table)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The table's names in its order, then the plugins' names."""
        return [*self._table, *(name for name in self._plugin_help() if name not in self._table)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return the command, or None when no such command exists."""
        if cmd_name in self._table:
            module, attribute = self._table[cmd_name][0].split(":")
            command: click.Command = getattr(importlib.import_module(module), attribute)
            return command
        if cmd_name not in self._plugin_help():
            return None
        from m6rec_core.registry import load_entry

        loaded = load_entry(PLUGIN_COMMANDS, cmd_name)
        if not isinstance(loaded, click.Command):
            raise RegistryError(f"plugin command {cmd_name!r} is a {type(loaded).__name__}, not a click command")
        return loaded

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command named first in `args`; a misspelt one is a usage error with the near names."""
        name = args[0]
        if not name.startswith("-") and self.get_command(ctx, name) is None:
            from difflib import get_close_matches

            close = get_close_matches(name, self.list_commands(ctx))
            hint = f" Did you mean {' or '.join(map(repr, close))}?" if close else ""
            raise click.UsageError(f"No such command {name!r}.{hint}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands without importing any."""
        own = [(name, text) for name, (_, text) in self._table.items()]
        with formatter.section("Commands"):
            formatter.write_dl(own)
        if plugins := list(self._plugin_help().items()):
            with formatter.section("Commands of plugins"):
                formatter.write_dl(plugins)

    def _plugin_help(self) -> dict[str, str]:
        from m6rec_core.registry import discover

        texts: dict[str, str] = {}
        for entry in discover(PLUGIN_COMMANDS):
            if entry.name in self._table:
                texts[entry.name] = f"from {entry.distribution}: ignored, m6rec-core has a command of this name"
            elif entry.state == "ready":
                texts[entry.name] = f"from {entry.distribution}"
            elif entry.state != "not allowed":
                texts[entry.name] = f"{entry.state}: {entry.reason}"
        return texts
