"""`m6rec retrieve`: the K items nearest to users."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from m6rec_plugin_retrieval.asking import Found, Shelf

FOLDER = click.Path(path_type=Path)


@click.command()
@click.option("--pack", type=FOLDER, required=True, help="Task pack of the retrieval task.")
@click.option("--index", "index", type=FOLDER, help="Index of the items. Default: encode all items of --data.")
@click.option("--data", help="Name of a known data set, or a folder of logs.")
@click.option("--user", "user_ids", multiple=True, help="A user of --data; give it as often as needed.")
@click.option("--input", "source", type=FOLDER, help="Users as samples with a history, .jsonl or .parquet.")
@click.option("--k", type=click.IntRange(min=1), default=10, show_default=True, help="Items per user.")
@click.option("--seen", is_flag=True, help="Let items of the user's own history come back.")
@click.option("--backbone", help="Known name, folder, or hub id. Default: the one the pack names.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a user.")
def retrieve(  # noqa: PLR0913, PLR0917 - one parameter per option
    pack: Path,
    index: Path | None,
    data: str | None,
    user_ids: tuple[str, ...],
    source: Path | None,
    k: int,
    seen: bool,
    backbone: str | None,
    as_json: bool,
) -> None:
    """Find the K items nearest to users, by their vectors; a user without a history gets the most popular ones."""
    if (source is None) == (not user_ids):
        raise click.UsageError("give either --user ID with --data, or --input FILE")
    if user_ids and data is None:
        raise click.UsageError("--user names a user of --data; give --data too")
    if index is None and data is None:
        raise click.UsageError("give --index DIR, or --data whose items are to be searched")

    from m6rec_plugin_retrieval.asking import met, nearest, open_logs, open_shelf, user_of_logs, users_of_file
    from m6rec_plugin_retrieval.encoding import open_encoder

    logs = open_logs(data) if data is not None else None
    encoder = open_encoder(pack, backbone)
    if source is not None:
        users = users_of_file(source)
    else:
        users = [user_of_logs(logs, one, encoder.settings) for one in user_ids] if logs is not None else []
    shelf = open_shelf(encoder, index, logs)
    own = [frozenset(event.item.item_id for event in user.history) for user in users]
    if logs is not None:
        own = [one | met(logs, user.user_id) for one, user in zip(own, users, strict=True)]
    found = nearest(encoder, shelf, users, k, [frozenset()] * len(users) if seen else own)
    for one in found:
        _show(one, shelf, as_json)


def _show(found: Found, shelf: Shelf, as_json: bool) -> None:
    titles = [title_of(shelf, item) for item in found.ids]
    if as_json:
        items = [
            {"item_id": item, "title": title, "score": score}
            for item, title, score in zip(found.ids, titles, found.scores, strict=True)
        ]
        click.echo(json.dumps({"user": found.user, "by": found.by, "items": items}, ensure_ascii=False))
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    column = "score" if found.by == "vectors" else "events"
    if found.by != "vectors":
        click.echo(f"user {found.user} has no history: these are the most popular items")
    table = Table(title=Text(f"user {found.user}"), title_justify="left")
    for name in ("", "item", "title", column):
        table.add_column(name, justify="right" if name in ("", column) else "left")
    for place, (item, title, score) in enumerate(zip(found.ids, titles, found.scores, strict=True), start=1):
        shown = f"{score:.3f}" if found.by == "vectors" else f"{score:,.0f}"
        table.add_row(str(place), Text(item), Text(title), shown)
    Console().print(table)


def title_of(shelf: Shelf, item: str) -> str:
    """The title of an item, "" where it has none or only an index is known."""
    known = shelf.items.get(item)
    return "" if known is None else known.fields.get("title", "")
