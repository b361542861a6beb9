"""`m6rec recommend`: retrieve K items for a user, then rank them with the ctr task."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from m6rec_plugin_retrieval.two_stages import Recommended

FOLDER = click.Path(path_type=Path)


@click.command()
@click.option("--retrieval-pack", type=FOLDER, required=True, help="Task pack of the retrieval task.")
@click.option("--ctr-pack", type=FOLDER, required=True, help="Task pack that ranks: ctr, or any task with a score.")
@click.option("--index", "index", type=FOLDER, help="Index of the items. Default: encode all items of --data.")
@click.option("--data", required=True, help="Name of a known data set, or a folder of logs.")
@click.option("--user", "user_id", required=True, help="A user of --data.")
@click.option("--k", type=click.IntRange(min=1), default=20, show_default=True, help="Items retrieved and ranked.")
@click.option("--show", type=click.IntRange(min=1), default=10, show_default=True, help="Items printed.")
@click.option("--backbone", help="Known name, folder, or hub id. Default: the one the packs name.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object.")
def recommend(  # noqa: PLR0913, PLR0917 - one parameter per option
    retrieval_pack: Path,
    ctr_pack: Path,
    index: Path | None,
    data: str,
    user_id: str,
    k: int,
    show: int,
    backbone: str | None,
    as_json: bool,
) -> None:
    """Retrieve K items for a user and rank them; prints titles and both scores."""
    from m6rec_plugin_retrieval.asking import open_logs
    from m6rec_plugin_retrieval.two_stages import open_stages, recommend_to

    logs = open_logs(data)
    stages = open_stages(retrieval_pack, ctr_pack, index, logs, backbone)
    found = recommend_to(stages, logs, user_id, k)
    _show(found, show, as_json)


def _show(found: Recommended, show: int, as_json: bool) -> None:
    if as_json:
        items = [
            {"item_id": i, "title": t, "retrieval": r, "ranking": s}
            for i, t, r, s in zip(found.ids, found.titles, found.retrieval, found.ranking, strict=True)
        ]
        click.echo(json.dumps({"user": found.user, "by": found.by, "items": items}, ensure_ascii=False))
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    if found.by != "vectors":
        click.echo(f"user {found.user} has no history: the candidates are the most popular items")
    console = Console()
    if found.latest:
        console.print(Text(f"latest: {'; '.join(found.latest)}"))
    table = Table(title=Text(f"user {found.user}"), title_justify="left")
    first = "retrieval" if found.by == "vectors" else "events"
    for name in ("", "title", "ranking score", f"{first} score" if first == "retrieval" else first):
        table.add_column(name, justify="left" if name == "title" else "right")
    lines = zip(found.titles, found.ranking, found.retrieval, strict=True)
    for place, (title, ranking, retrieval) in enumerate(list(lines)[:show], start=1):
        found_by = f"{retrieval:.3f}" if found.by == "vectors" else f"{retrieval:,.0f}"
        table.add_row(str(place), Text(title), f"{ranking:.3f}", found_by)
    console.print(table)
