"""`m6rec tasks`: what is installed, read from package metadata; no plugin is imported."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Sequence

import click

from m6rec_core.registry import OFFICIAL_TASKS, TaskEntry, discover

COLUMNS = ("task", "distribution", "version", "state")


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array for machines.")
def tasks(as_json: bool) -> None:
    """List the installed task plugins with distribution, version and state, without importing them.

    States: ready; duplicate (two distributions provide the task); not allowed (M6REC_PLUGINS leaves it out);
    incompatible (it needs another m6rec-core). Whether a ready plugin imports shows when it is used.
    """
    entries = discover()
    if as_json:
        click.echo(json.dumps([dataclasses.asdict(entry) for entry in entries], indent=2))
    elif not entries:
        names = ", ".join(OFFICIAL_TASKS)
        click.echo(f"No task is installed. Install one with `pip install m6rec-plugin-NAME`, NAME one of: {names}.")
    elif sys.stdout.isatty():
        _print_table(entries)
    else:
        click.echo(_plain(entries))


def _row(entry: TaskEntry) -> tuple[str, str, str, str]:
    state = f"{entry.state}: {entry.reason}" if entry.reason else entry.state
    return entry.name, entry.distribution, entry.version, state


def _plain(entries: Sequence[TaskEntry]) -> str:
    rows = [COLUMNS, *map(_row, entries)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(COLUMNS))]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)


def _print_table(entries: Sequence[TaskEntry]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(*COLUMNS)
    for entry in entries:
        table.add_row(*map(escape, _row(entry)))
    Console().print(table)
