"""`m6rec queries`: write search queries with a task pack."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from m6rec_plugin_query_generation.sample import QueryPrediction, QuerySample

FILE = click.Path(path_type=Path)


@click.command()
@click.option("--pack", type=FILE, required=True, help="Task pack of a run of query-generation.")
@click.option("--need", help="What the user needs, in words.")
@click.option("--input", "source", type=FILE, help="Samples, .jsonl or .parquet: need, history, or both.")
@click.option("--n", "count", type=click.IntRange(min=1), default=5, show_default=True, help="Queries per sample.")
@click.option("--blocklist", type=FILE, help="Text file: words and phrases that no query may hold, one a line.")
@click.option("--queries", "allowed", type=FILE, help="Text file: only these queries are written, one a line.")
@click.option("--backbone", help="Known name, folder, or hub id. Default: the one the pack names.")
@click.option("--precision", type=click.Choice(["auto", "bf16", "fp32", "fp64"]), help="Number format.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def queries(  # noqa: PLR0913, PLR0917 - one parameter per option
    pack: Path,
    need: str | None,
    source: Path | None,
    count: int,
    blocklist: Path | None,
    allowed: Path | None,
    backbone: str | None,
    precision: str | None,
    as_json: bool,
) -> None:
    """Write the best search queries for a need, or for every sample of a file."""
    if (need is None) == (source is None):
        raise click.UsageError("give --need TEXT or --input FILE, one of them")
    from m6rec_core.serving.opening import open_pack
    from m6rec_plugin_query_generation.blocklist import read_lines
    from m6rec_plugin_query_generation.sample import QueryPrediction

    samples = _samples(need, source)
    settings: dict[str, Any] = {"best": count}
    if blocklist is not None:
        settings["blocked"] = read_lines(blocklist, "--blocklist")
    if allowed is not None:
        settings["allowed"] = read_lines(allowed, "--queries")
    opened = open_pack(
        pack, backbone, precision, lambda line: click.echo(line, err=True), settings, task="query-generation"
    )
    answers = [answer for answer in opened.predict(samples) if isinstance(answer, QueryPrediction)]
    _show(answers, as_json)


def _samples(need: str | None, source: Path | None) -> list[QuerySample]:
    from m6rec_core.errors import DataError
    from m6rec_core.logs.sample_files import read_sample_file
    from m6rec_core.text.template import clean
    from m6rec_plugin_query_generation.sample import QuerySample

    if source is not None:
        return [placed.sample for placed in read_sample_file(source, QuerySample)]
    if not clean(need or ""):
        raise DataError("--need: it is blank; say in words what the user needs")
    return [QuerySample(id="need", need=need or "")]


def _show(answers: Sequence[QueryPrediction], as_json: bool) -> None:
    from m6rec_core.generation import scored_texts, told_texts

    if as_json:
        rows = [{"id": answer.id, "queries": scored_texts(answer, "query")} for answer in answers]
        click.echo(json.dumps(rows, indent=2, ensure_ascii=False))
        return
    nothing = "(no query: nothing was written that the blocklist lets through)"
    click.echo("\n".join(told_texts(answers, nothing)))
