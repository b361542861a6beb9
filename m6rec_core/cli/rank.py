"""`m6rec rank`."""

from __future__ import annotations

import json
import time
from pathlib import Path

import click

FILE = click.Path(path_type=Path)


@click.command()
@click.option("--pack", type=FILE, required=True, help="Task pack: the folder `pack` of a run.")
@click.option("--input", "source", type=FILE, required=True, help="Requests, .jsonl: id, user, candidates.")
@click.option("--output", type=FILE, help="Rankings, .jsonl. Default: standard output.")
@click.option("--force", is_flag=True, help="Replace an --output that exists.")
@click.option("--catalogue", type=FILE, help="Items, .parquet, to encode before the first request.")
@click.option("--cache-folder", type=FILE, help="Keep segments on disk too (needs the package lmdb).")
@click.option("--redis", help="Keep segments in a Redis server too, redis://host:port/0.")
@click.option("--backbone", help="Known name, folder, or hub id. Default: the one the pack names.")
@click.option("--precision", type=click.Choice(["auto", "bf16", "fp32", "fp64"]), help="Default: that of the tuning.")
def rank(  # noqa: PLR0913, PLR0917 - one parameter per option
    pack: Path,
    source: Path,
    output: Path | None,
    force: bool,
    catalogue: Path | None,
    cache_folder: Path | None,
    redis: str | None,
    backbone: str | None,
    precision: str | None,
) -> None:
    """Rank the candidates of each request with a tuned task pack, best first."""
    from typing import cast

    from m6rec_core.config import CacheConfig
    from m6rec_core.runs.files import write_text
    from m6rec_core.runs.predict import check_output
    from m6rec_core.runs.progress import counting, say_line
    from m6rec_core.runs.segments import describe_counts
    from m6rec_core.serving.catalogue import read_requests
    from m6rec_core.serving.opening import open_pack
    from m6rec_core.serving.ranker import Ranker
    from m6rec_core.types import BehaviourSample

    if output is not None:
        check_output(output, source, force)
    opened = open_pack(pack, backbone, precision, say_line)
    cache = CacheConfig(folder=None if cache_folder is None else str(cache_folder), redis=redis)
    ranker = Ranker(opened, cache, say_line)
    model = cast("type[BehaviourSample]", opened.task.manifest.sample)
    requests = list(read_requests(source, model))
    if catalogue is not None:
        with counting("encoding the catalogue", 0, True) as tick:
            ranker.pre_encode_catalogue(catalogue, tick)
    lines, taken = [], []
    with counting("ranking requests", len(requests), output is not None) as tick:
        for name, user, candidates in requests:
            began = time.perf_counter()
            found = ranker.rank(user, candidates)
            taken.append(time.perf_counter() - began)
            lines.append(json.dumps({"id": name, "ranking": [{"item_id": r.item_id, "score": r.score} for r in found]}))
            tick(1)
    text = "".join(line + "\n" for line in lines)
    if output is None:
        click.echo(text, nl=False)
    else:
        write_text(output, text)
    if taken:
        middle = sorted(taken)[len(taken) // 2]
        say_line(f"{len(taken):,} requests, median {middle * 1e3:.1f} ms")
    if ranker.cache is not None:
        say_line(f"segment cache: {describe_counts(ranker.cache.counts())}")
