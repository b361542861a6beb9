"""`m6rec index`: build, change and describe an index of item vectors."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from m6rec_core.errors import DataError

if TYPE_CHECKING:
    from m6rec_core.serving.processes import Processes
    from m6rec_core.types import Item
    from m6rec_plugin_retrieval.encoding import ItemEncoder
    from m6rec_plugin_retrieval.index import EncodedCatalogue, IndexManifest

FOLDER = click.Path(path_type=Path)
PACK = click.option("--pack", type=FOLDER, required=True, help="Task pack of the retrieval task.")
ITEMS = click.option("--items", type=FOLDER, required=True, help="Items: a parquet file, or a folder of shards.")
CACHE = click.option("--encoded", type=FOLDER, help="Store of encoded items. Default: OUTPUT.encoded beside the index.")
BACKBONE = click.option("--backbone", help="Known name, folder, or hub id. Default: the one the pack names.")
BATCH = click.option("--batch", type=click.IntRange(min=1), default=1024, help="Items encoded and stored at a time.")
JSON = click.option("--json", "as_json", is_flag=True, help="Print a JSON object.")


@click.group()
def index() -> None:
    """Build, change and describe an index of item vectors."""


@index.command()
@PACK
@ITEMS
@click.option("--output", type=FOLDER, required=True, help="Folder of the index.")
@CACHE
@click.option(
    "--backend", type=click.Choice(["auto", "exact", "hnsw"]), default="auto", help="auto: exact for few items."
)
@click.option(
    "--target", type=click.FloatRange(0, 1, min_open=True), default=0.99, help="Recall that hnsw shall reach."
)
@click.option("--top", type=click.IntRange(min=1), default=100, help="K of recall@K.")
@click.option("--threads", type=click.IntRange(min=1), default=1, help="Above 1 the graph is not the same twice.")
@BACKBONE
@BATCH
@click.option(
    "--num-processes",
    type=click.IntRange(min=1),
    help="Processes to run on (default: your accelerate config, or 1).",
)
@click.option("--force", is_flag=True, help="Replace an index at --output.")
@JSON
def build(  # noqa: PLR0913, PLR0917 - one parameter per option
    pack: Path,
    items: Path,
    output: Path,
    encoded: Path | None,
    backend: str,
    target: float,
    top: int,
    threads: int,
    backbone: str | None,
    batch: int,
    num_processes: int | None,
    force: bool,
    as_json: bool,
) -> None:
    """Encode all items with a task pack and index their vectors. Items encoded before are not encoded again, also after
    an interruption: what is done is kept batch by batch.
    """
    from m6rec_core.cli.launch import relaunch_if_needed

    code = relaunch_if_needed(sys.argv[1:], num_processes)
    if code is not None:
        sys.exit(code)

    from m6rec_core.serving.processes import joined
    from m6rec_plugin_retrieval.index import HnswSettings, StoredIndex, build_index, save_index
    from m6rec_plugin_retrieval.index.files import INDEX_FILES
    from m6rec_plugin_retrieval.index.folders import check_replaceable

    check_replaceable(output, INDEX_FILES if force else None)
    processes = joined()
    encoder = _open(pack, backbone)
    with processes.main_first():
        store = _store(encoder, encoded, output)
    ids, digests, fresh = _encode_all(encoder, store, items, batch, processes)
    if not ids:
        raise DataError(f"{items} holds no items: give at least one")
    processes.wait()
    if not processes.main:
        return
    if processes.size > 1:
        store = _store(encoder, encoded, output)  # with what the other processes wrote
    vectors = store.vectors(digests)
    settings = HnswSettings(threads=threads) if threads > 1 else None
    made, recall = build_index(ids, vectors, target, top, backend, settings=settings)
    manifest = save_index(output, StoredIndex(made, encoder.pack_hash, recall), overwrite=force)
    _tell(output, manifest, as_json, {"encoded": fresh, "reused": len(ids) - fresh})


@index.command()
@click.argument("path", type=FOLDER)
@PACK
@ITEMS
@click.option("--update", is_flag=True, help="Replace items that the index holds already, instead of refusing them.")
@CACHE
@BACKBONE
@BATCH
@JSON
def add(
    path: Path,
    pack: Path,
    items: Path,
    update: bool,
    encoded: Path | None,
    backbone: str | None,
    batch: int,
    as_json: bool,
) -> None:
    """Add items to the index PATH."""
    from m6rec_core.serving.processes import Processes
    from m6rec_plugin_retrieval.index import load_index, save_index

    encoder = _open(pack, backbone)
    stored = load_index(path, encoder.pack_hash)
    store = _store(encoder, encoded, path)
    ids, digests, fresh = _encode_all(encoder, store, items, batch, Processes())
    vectors = store.vectors(digests)
    old = [row for row, item in enumerate(ids) if item in stored.index] if update else []
    new = sorted(set(range(len(ids))) - set(old))
    stored.index.add([ids[row] for row in new], vectors[new])
    stored.index.update([ids[row] for row in old], vectors[old])
    manifest = save_index(path, stored.changed(len(ids)), overwrite=True)
    _tell(path, manifest, as_json, {"added": len(new), "updated": len(old), "encoded": fresh})


@index.command()
@click.argument("path", type=FOLDER)
@click.option("--id", "names", multiple=True, help="An item to delete; give it as often as needed.")
@click.option("--ids", "file", type=FOLDER, help="A text file with one item id a line.")
@JSON
def delete(path: Path, names: tuple[str, ...], file: Path | None, as_json: bool) -> None:
    """Delete items from the index PATH."""
    from m6rec_core.logs.source_files import text_lines
    from m6rec_plugin_retrieval.index import load_index, save_index

    if not names and file is None:
        raise click.UsageError("give --id ITEM or --ids FILE")
    lines = text_lines(file, "--ids", "item id") if file is not None else []
    wanted = [*names, *(line for line in lines if line)]
    stored = load_index(path, None)
    stored.index.delete(wanted)
    manifest = save_index(path, stored.changed(len(wanted)), overwrite=True)
    _tell(path, manifest, as_json, {"deleted": len(wanted)})


@index.command()
@click.argument("path", type=FOLDER)
@JSON
def info(path: Path, as_json: bool) -> None:
    """Check every file of the index PATH and say what it holds."""
    from m6rec_plugin_retrieval.index import load_index, read_index_manifest

    load_index(path, None)
    _tell(path, read_index_manifest(path), as_json, {})


def _open(pack: Path, backbone: str | None) -> ItemEncoder:
    from m6rec_plugin_retrieval.encoding import open_encoder

    return open_encoder(pack, backbone)


def _store(encoder: ItemEncoder, encoded: Path | None, output: Path) -> EncodedCatalogue:
    from m6rec_plugin_retrieval.index import EncodedCatalogue

    folder = encoded or output.with_name(f"{output.name}.encoded") / encoder.pack_hash[:16]
    return EncodedCatalogue(folder, encoder.pack_hash, encoder.width)


def _encode_all(
    encoder: ItemEncoder, store: EncodedCatalogue, source: Path, batch: int, processes: Processes
) -> tuple[list[str], list[bytes], int]:
    """Encode what the store lacks, a shard per batch; return ids, digests of their texts, and how many were encoded.

    The processes of a group read the same items and deal the shards among themselves in their order, so that none has
    to ask another.
    """
    from m6rec_plugin_retrieval.index.catalogue import digest
    from m6rec_plugin_retrieval.telling import Told, say_on_stderr

    told = Told("items", None, say_on_stderr)
    ids: list[str] = []
    digests: list[bytes] = []
    seen: set[str] = set()
    fresh = shards = 0
    for items, texts in _with_texts(encoder, source, batch):
        for item in items:
            if item.item_id in seen:
                raise DataError(f"{source}: item id {item.item_id!r} comes twice: keep one row per item")
            seen.add(item.item_id)
        by_id = {item.item_id: item for item in items}
        todo = store.missing((item.item_id, text) for item, text in zip(items, texts, strict=True))
        if todo and shards % processes.size == processes.rank:
            store.write_shard(todo, encoder.encode([by_id[name] for name, _ in todo]))
            told(len(todo))
        elif todo:
            store.expect(todo)
        shards += bool(todo)
        fresh += len(todo)
        ids += by_id
        digests += map(digest, texts)
    return ids, digests, fresh


def _with_texts(encoder: ItemEncoder, source: Path, batch: int) -> Iterator[tuple[list[Item], list[str]]]:
    from m6rec_plugin_retrieval.index import read_items
    from m6rec_plugin_retrieval.serialize import check_texts

    for items in read_items(source, batch):
        check_texts(source, items)
        yield items, encoder.texts(items)


def _tell(path: Path, manifest: IndexManifest, as_json: bool, done: dict[str, int]) -> None:
    if as_json:
        found: dict[str, Any] = {"path": str(path), **done, **manifest.model_dump()}
        click.echo(json.dumps(found))
        return
    size = sum(file.bytes for file in manifest.files.values())
    said = "".join(f", {count:,} {what}" for what, count in done.items())
    click.echo(
        f"{path}: {manifest.count:,} items of width {manifest.width}, {manifest.backend}, {size / 1e6:.1f} MB{said}"
    )
    if manifest.graph is not None:
        graph = manifest.graph
        click.echo(f"graph: M {graph.M}, ef {graph.ef}, {graph.vectors - manifest.count:,} deleted vectors in it")
    if manifest.recall is not None:
        recall = manifest.recall
        since = f"; {recall.changes:,} changes since" if recall.changes else ""
        verdict = "" if recall.reached >= recall.target else " - NOT REACHED: use --backend exact or a lower --target"
        asked = f"{recall.queries} {recall.source} held out"
        click.echo(f"recall@{recall.k}: {recall.reached:.4f} of {asked}, target {recall.target}{since}{verdict}")
