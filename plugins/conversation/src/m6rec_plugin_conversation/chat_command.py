"""`m6rec chat`: talk with a task pack in the terminal, or through a pipe with one turn a line."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from m6rec_plugin_conversation.talking import Talk

FILE = click.Path(path_type=Path)
QUIT = "/quit"
PROMPT = "You: "
ANSWER = "Recommender: "


@click.command()
@click.option("--pack", type=FILE, required=True, help="Task pack of a run of conversation.")
@click.option("--catalogue", type=FILE, help="Text file of titles, one a line; the likeliest are named behind a reply.")
@click.option("--only-catalogue", is_flag=True, help="Reply with titles of the catalogue, each once, and nothing else.")
@click.option("--films", "count", type=click.IntRange(min=1), default=3, show_default=True, help="Titles to name.")
@click.option("--fact", "facts", multiple=True, help="A sentence about the seeker (repeatable).")
@click.option("--backbone", help="Known name, folder, or hub id. Default: the one the pack names.")
@click.option("--precision", type=click.Choice(["auto", "bf16", "fp32", "fp64"]), help="Number format.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object per reply.")
def chat(
    pack: Path,
    catalogue: Path | None,
    only_catalogue: bool,
    count: int,
    facts: tuple[str, ...],
    backbone: str | None,
    precision: str | None,
    as_json: bool,
) -> None:
    """Talk about films. One turn a line; /quit or the end of the input ends it."""
    if only_catalogue and catalogue is None:
        raise click.UsageError("--only-catalogue needs --catalogue FILE")
    from m6rec_core.errors import M6RecError
    from m6rec_core.serving.opening import open_pack
    from m6rec_plugin_conversation.catalogue import read_catalogue
    from m6rec_plugin_conversation.talking import Talk

    titles: tuple[str, ...] = ()
    if catalogue is not None:
        found = read_catalogue(catalogue)
        click.echo(f"catalogue: {found.told}", err=True)
        titles = found.titles
    opened = open_pack(pack, backbone, precision, lambda line: click.echo(line, err=True), task="conversation")
    talk = Talk(opened, titles, count, only_catalogue, facts)
    typing = sys.stdin.isatty() and not as_json
    if typing:
        click.echo(f"One turn a line; {QUIT} ends.", err=True)
    while (line := _next_line(typing)) is not None:
        if typing and line.startswith("/"):
            click.echo(f"error: there is no command {line.strip()}; {QUIT} ends, any other line is a turn", err=True)
            continue
        try:
            _answer(talk, line, typing, as_json)
        except M6RecError as error:  # one turn is wrong, the dialogue goes on
            click.echo(f"error: {error}", err=True)


def _next_line(typing: bool) -> str | None:
    """The next turn; None at the end."""
    if typing:
        click.echo(PROMPT, nl=False)
    try:
        raw = sys.stdin.buffer.readline()
    except KeyboardInterrupt:
        return None
    line = raw.decode("utf-8", "replace")
    return None if not raw or line.strip() == QUIT else line


def _answer(talk: Talk, line: str, typing: bool, as_json: bool) -> None:
    """Print the reply to one turn while it is written, then the films."""
    pieces = talk.reply(line)
    if as_json:
        for _ in pieces:
            pass
        reply = talk.said
        click.echo(json.dumps({"reply": reply.text, "films": reply.films, "named": reply.named}, ensure_ascii=False))
        return
    begun = False
    for piece in pieces:
        click.echo(piece if begun else f"{ANSWER if typing else ''}{piece}", nl=False)
        begun = True
    click.echo("" if begun else "(no reply)")
    if talk.said.films and not talk.only_catalogue:
        click.echo(f"Films: {'; '.join(talk.said.films)}")
