"""An index as a folder: a manifest in JSON, the table of ids in parquet, and the vectors or the graph."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, ValidationError

from m6rec_core.files import sha256_of
from m6rec_plugin_retrieval.index.errors import VectorIndexError
from m6rec_plugin_retrieval.index.exact import ExactIndex
from m6rec_plugin_retrieval.index.folders import index_folder
from m6rec_plugin_retrieval.index.hnsw import HnswIndex, HnswSettings
from m6rec_plugin_retrieval.index.protocol import VectorIndex
from m6rec_plugin_retrieval.index.recall import Recall

INDEX_FORMAT = 1
MANIFEST_FILE = "index.json"
IDS_FILE = "ids.parquet"
VECTOR_FILE = "vectors.npy"
GRAPH_FILE = "graph.hnsw"
WIDTH_KEY = b"width"
INDEX_FILES = frozenset({MANIFEST_FILE, IDS_FILE, VECTOR_FILE, GRAPH_FILE})


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class FileCheck(_Strict):
    """What a file of the index must be."""

    bytes: int
    sha256: str


class Graph(_Strict):
    """Settings of the hnsw backend (`HnswSettings`), and the number of vectors in the graph, deleted ones included."""

    M: int
    ef_construction: int
    ef: int
    seed: int
    threads: int
    vectors: int


class Measured(_Strict):
    """See `Recall`; `changes` counts the items added, updated and deleted since."""

    k: int
    target: float
    reached: float
    queries: int
    source: str
    changes: int = 0


class IndexManifest(_Strict):
    """`index.json`. `pack_sha256`: of the task pack whose encoder made the vectors."""

    format: int
    backend: Literal["exact", "hnsw"]
    width: int
    count: int
    pack_sha256: str
    files: dict[str, FileCheck]
    graph: Graph | None = None
    recall: Measured | None = None


@dataclass(frozen=True, slots=True)
class StoredIndex:
    """An index with what its manifest says of it: the pack it is tied to, and the recall measured when it was built."""

    index: VectorIndex
    pack_hash: str
    recall: Recall | None = None
    changes: int = 0

    def changed(self, items: int) -> StoredIndex:
        """Count `items` more changes since the measurement."""
        return replace(self, changes=self.changes + items)


def save_index(path: Path, stored: StoredIndex, overwrite: bool = False) -> IndexManifest:
    """Write the folder `path` at once or not at all; with `overwrite`, an index there is replaced."""
    index = stored.index
    if not isinstance(index, ExactIndex | HnswIndex):
        raise VectorIndexError(f"an index of backend {index.backend!r} has no file format: build exact or hnsw")
    with index_folder(path, INDEX_FILES if overwrite else None) as folder:
        names = _write_exact(folder, index) if isinstance(index, ExactIndex) else _write_graph(folder, index)
        files = {n: FileCheck(bytes=(folder / n).stat().st_size, sha256=sha256_of(folder / n)) for n in names}
        manifest = IndexManifest(
            format=INDEX_FORMAT,
            backend=index.backend,
            width=index.width,
            count=len(index),
            pack_sha256=stored.pack_hash,
            files=files,
            graph=_graph(index) if isinstance(index, HnswIndex) else None,
            recall=Measured(**asdict(stored.recall), changes=stored.changes) if stored.recall else None,
        )
        (folder / MANIFEST_FILE).write_text(manifest.model_dump_json(indent=2) + "\n", encoding="utf-8")
    return manifest


def read_index_manifest(path: Path) -> IndexManifest:
    """Read and check `index.json` of the folder `path`; VectorIndexError names file, field and cure."""
    file = path / MANIFEST_FILE
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise VectorIndexError(f"{path} is not an index: {MANIFEST_FILE} is missing; run m6rec index build") from error
    except (OSError, ValueError) as error:
        raise VectorIndexError(f"{file} cannot be read: {error}: build the index again") from error
    version = content.get("format") if isinstance(content, dict) else None
    if version != INDEX_FORMAT:
        raise VectorIndexError(
            f"{file}: field format is {version!r}, but this m6rec-plugin-retrieval reads {INDEX_FORMAT}: build the "
            "index again, or install the version that wrote it"
        )
    try:
        manifest = IndexManifest.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise VectorIndexError(f"{file}: field {field}: {first['msg']}: build the index again") from error
    wanted = {IDS_FILE, VECTOR_FILE if manifest.backend == "exact" else GRAPH_FILE}
    if set(manifest.files) != wanted or (manifest.backend == "hnsw") != (manifest.graph is not None):
        raise VectorIndexError(f"{file}: field files does not suit backend {manifest.backend}: build the index again")
    return manifest


def load_index(path: Path, pack_hash: str | None) -> StoredIndex:
    """Read the index in the folder `path`, every file checked first.

    `pack_hash` is that of the pack whose vectors will be searched for; None leaves it unchecked, for looking only.
    Raises VectorIndexError when it is another, or a file is missing, damaged or of an unknown version.
    """
    manifest = read_index_manifest(path)
    if pack_hash is not None and manifest.pack_sha256 != pack_hash:
        raise VectorIndexError(
            f"{path} was built with task pack {manifest.pack_sha256[:12]}, not with {pack_hash[:12]}: "
            "use that pack, or build the index again with this one"
        )
    for name, wanted in manifest.files.items():
        _check_file(path / name, wanted)
    try:
        table = pq.read_table(path / IDS_FILE)
        ids, labels = table.column("item_id").to_pylist(), table.column("label").to_pylist()
        # hnswlib would read vectors of whatever width it is told, so the width is kept beside the ids as well
        if int(table.schema.metadata[WIDTH_KEY]) != manifest.width:
            raise VectorIndexError(
                f"{path / MANIFEST_FILE}: field width is not that of the files: build the index again"
            )
        index = _read(path, manifest, ids, labels)
    except (OSError, ValueError, KeyError, RuntimeError, pa.ArrowException) as error:
        raise VectorIndexError(f"{path} cannot be read: {error}: build the index again") from error
    if len(index) != manifest.count or index.width != manifest.width:
        raise VectorIndexError(f"{path / MANIFEST_FILE}: field count or width is not that of the files: build it again")
    recall = manifest.recall
    measured = Recall(**recall.model_dump(exclude={"changes"})) if recall else None
    return StoredIndex(index, manifest.pack_sha256, measured, recall.changes if recall else 0)


def _read(path: Path, manifest: IndexManifest, ids: list[str], labels: list[int]) -> VectorIndex:
    if manifest.graph is None:
        return ExactIndex.of(ids, np.load(path / VECTOR_FILE, allow_pickle=False))
    graph = manifest.graph
    settings = HnswSettings(graph.M, graph.ef_construction, graph.ef, graph.seed, graph.threads)
    held = dict(zip(ids, labels, strict=True))
    return HnswIndex.restored(manifest.width, settings, path / GRAPH_FILE, held, graph.vectors)


def _check_file(file: Path, wanted: FileCheck) -> None:
    try:
        size = file.stat().st_size
        if size != wanted.bytes:
            raise VectorIndexError(f"{file} has {size} bytes, not {wanted.bytes}: copy or build the index again")
        if sha256_of(file) != wanted.sha256:
            raise VectorIndexError(
                f"{file} is damaged (its sha256 differs from {MANIFEST_FILE}): build the index again"
            )
    except FileNotFoundError as error:
        raise VectorIndexError(f"{file} is missing: copy or build the index again") from error
    except OSError as error:
        raise VectorIndexError(f"{file} cannot be read: {error}: copy or build the index again") from error


def _write_exact(folder: Path, index: ExactIndex) -> tuple[str, str]:
    ids = index.ids()
    np.save(folder / VECTOR_FILE, index.vectors(ids), allow_pickle=False)
    _write_ids(folder, index.width, ids, range(len(ids)))
    return IDS_FILE, VECTOR_FILE


def _write_graph(folder: Path, index: HnswIndex) -> tuple[str, str]:
    index.write_graph(folder / GRAPH_FILE)
    labels = index.labels
    _write_ids(folder, index.width, list(labels), list(labels.values()))
    return IDS_FILE, GRAPH_FILE


def _write_ids(folder: Path, width: int, ids: Sequence[str], labels: Sequence[int]) -> None:
    columns = {"label": pa.array(labels, pa.int64()), "item_id": pa.array(ids, pa.string())}
    pq.write_table(pa.table(columns, metadata={WIDTH_KEY: str(width)}), folder / IDS_FILE)


def _graph(index: HnswIndex) -> Graph:
    now = index.settings
    return Graph(
        M=now.m,
        ef_construction=now.ef_construction,
        ef=now.ef,
        seed=now.seed,
        threads=now.threads,
        vectors=len(index) + index.deleted,
    )
