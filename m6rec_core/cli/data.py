"""`m6rec data`: prepare the known data sets, check anyone's."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from m6rec_core.logs.checking import CheckReport

CURABLE = 2
"""Exit code when something in the data is wrong."""


@click.group()
def data() -> None:
    """Prepare and check behaviour logs."""


@data.command()
@click.argument("name")
@click.option("--output", type=click.Path(path_type=Path), help="Folder to write to (default: under M6REC_HOME).")
@click.option(
    "--from", "source", type=click.Path(path_type=Path), help="Folder of files you have, where it needs some."
)
@click.option("--force", is_flag=True, help="Replace the content of a folder that is not empty.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object for machines.")
def prepare(name: str, output: Path | None, source: Path | None, force: bool, as_json: bool) -> None:
    """Write data set NAME (ml-100k, ml-1m, or one of an installed plugin) as tables or sample files."""
    from m6rec_core.logs.datasets import prepare as run

    folder = run(name, output, force, progress=not as_json, source=source)
    click.echo(json.dumps({"name": name, "folder": str(folder)}) if as_json else str(folder))


@data.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object for machines.")
@click.pass_context
def check(context: click.Context, folder: Path, as_json: bool) -> None:
    """Report what a folder of logs holds and what is wrong with it, row by row; exit code 2 when something is."""
    from m6rec_core.logs.checking import check_logs

    report = check_logs(folder)
    if as_json:
        click.echo(json.dumps({"ok": report.ok, **report.model_dump(mode="json")}, indent=2))
    else:
        _print(report)
    if not report.ok:
        context.exit(CURABLE)


def _print(report: CheckReport) -> None:
    facts = list(_facts(report))
    if sys.stdout.isatty():
        from rich.console import Console
        from rich.markup import escape
        from rich.table import Table

        table = Table(title=escape(report.folder), show_header=False)
        for name, value in facts:
            table.add_row(escape(name), escape(value))
        Console().print(table)
    else:
        for name, value in facts:
            click.echo(f"{name}: {value}")
    for note in report.notes:
        click.echo(f"note: {note}")
    for group in report.problems:
        for line in group.first:
            click.echo(f"wrong: {line}")
        hidden = group.count - len(group.first)
        if hidden:
            click.echo(f"wrong: {group.file}: {hidden:,} more of this kind")
    click.echo("nothing is wrong" if report.ok else f"{report.problem_count:,} problems")


def _facts(report: CheckReport) -> Iterator[tuple[str, str]]:
    yield "data set", f"{report.name} (domain {report.domain})" if report.domain else report.name
    if report.terms:
        yield "terms", report.terms
    for file, rows in report.rows.items():
        yield file, f"{rows:,} rows"
    found = report.found
    if found is None:
        return
    yield "users", f"{found.users:,} with events, {found.described_users:,} described"
    yield "items", f"{found.items:,}"
    yield "events", f"{found.events:,}"
    yield "kinds", ", ".join(f"{kind} {count:,}" for kind, count in found.kinds.items())
    yield "time", f"{found.first} to {found.last} ({found.time_form})"
    if found.values:
        yield "values", ", ".join(f"{value}: {count:,g}" for value, count in found.values.items())
    yield "item text", ", ".join(f"{name} {share:.1%}" for name, share in found.fields.items()) or "none"
    yield "items without a title", f"{found.untitled_share:.1%}"
    yield "cold events (fewer than 5 earlier of the item or user)", f"{found.cold_share:.1%}"
