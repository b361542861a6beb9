"""Encoded items by content: a text that was encoded once with a pack is never encoded with it again."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from m6rec_core.files import replacing
from m6rec_plugin_retrieval.index.errors import VectorIndexError
from m6rec_plugin_retrieval.index.vectors import Vectors, unit_vectors

CATALOGUE_FORMAT = 1
MANIFEST_FILE = "catalogue.json"


def digest(text: str) -> bytes:
    """Return the sha256 of a text, 32 bytes: its address in the store."""
    return hashlib.sha256(text.encode()).digest()


class EncodedCatalogue:
    """A folder of parquet shards with the columns item_id, text_sha256 and vector, tied to one task pack.

    A vector is found by its text, so items with equal texts share one and a changed text is encoded again. In memory
    are the digests and where each one's vector lies (about 200 bytes a text); vectors stay on disk.
    """

    def __init__(self, path: Path, pack_hash: str, width: int) -> None:
        """Open the store in the folder `path`, or start one; VectorIndexError where it belongs to another pack."""
        self._path = path
        self._width = width
        self._places: dict[bytes, tuple[int, int]] = {}
        self._shards: list[Path] = []
        self._expected: set[bytes] = set()
        self._check_manifest(pack_hash)
        for file in sorted(path.glob("part-*.parquet")):
            try:
                digests = pq.read_table(file, columns=["text_sha256"]).column(0).to_pylist()
            except (OSError, KeyError, pa.ArrowException) as error:
                raise _damaged(file, error) from error
            self._remember(file, digests)

    def __len__(self) -> int:
        """Texts held."""
        return len(self._places)

    def missing(self, items: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
        """Return those of the (id, text) pairs that have to be encoded, each text once, in order."""
        wanted: set[bytes] = set()
        found = []
        for item, text in items:
            key = digest(text)
            if key not in self._places and key not in self._expected and key not in wanted:
                wanted.add(key)
                found.append((item, text))
        return found

    def expect(self, items: Iterable[tuple[str, str]]) -> None:
        """Take note that another process encodes these (id, text) pairs: they are no longer missing, nor here yet."""
        self._expected.update(digest(text) for _, text in items)

    def write_shard(self, items: Sequence[tuple[str, str]], vectors: NDArray[Any]) -> None:
        """Store the vectors [n, width] of (id, text) pairs: all of them or, where it fails, none.

        What was written stays when a later shard fails, so an interrupted encoding goes on where it stopped.
        """
        if not items:
            return
        checked = unit_vectors(vectors, self._width, [item for item, _ in items])
        digests = [digest(text) for _, text in items]
        columns = {
            "item_id": pa.array([item for item, _ in items], pa.string()),
            "text_sha256": pa.array(digests, pa.binary(32)),
            "vector": pa.FixedSizeListArray.from_arrays(pa.array(checked.ravel()), self._width),
        }
        file = self._path / f"part-{len(self._shards):06d}-{uuid.uuid4().hex[:8]}.parquet"
        try:
            with replacing(file) as partial:
                pq.write_table(pa.table(columns), partial)
        except OSError as error:
            raise VectorIndexError(f"cannot write {file}: {error}: free some space and run again") from error
        self._remember(file, digests)

    def vectors(self, digests: Sequence[bytes]) -> Vectors:
        """Return the vectors [n, width] of texts by their `digest`, in order; each shard is read once."""
        found = np.empty((len(digests), self._width), dtype=np.float32)
        wanted: dict[int, list[tuple[int, int]]] = {}
        for row, key in enumerate(digests):
            if key not in self._places:
                raise VectorIndexError(f"{self._path} has no vector for text {key.hex()[:12]}: encode it first")
            shard, place = self._places[key]
            wanted.setdefault(shard, []).append((row, place))
        for shard, pairs in wanted.items():
            rows, places = (list(side) for side in zip(*pairs, strict=True))
            found[rows] = self._read(self._shards[shard])[places]
        return found

    def _read(self, file: Path) -> Vectors:
        try:
            column = pq.read_table(file, columns=["vector"]).column(0).combine_chunks()
            flat = np.asarray(column.flatten().to_numpy(zero_copy_only=False), dtype=np.float32)
            return unit_vectors(flat.reshape(-1, self._width), self._width)
        except (OSError, ValueError, KeyError, pa.ArrowException, VectorIndexError) as error:
            raise _damaged(file, error) from error

    def _remember(self, file: Path, digests: Sequence[bytes]) -> None:
        shard = len(self._shards)
        self._shards.append(file)
        for place, key in enumerate(digests):
            self._places.setdefault(key, (shard, place))

    def _check_manifest(self, pack_hash: str) -> None:
        file = self._path / MANIFEST_FILE
        wanted = {"format": CATALOGUE_FORMAT, "pack_sha256": pack_hash, "width": self._width}
        try:
            self._path.mkdir(parents=True, exist_ok=True)
            if not file.exists():
                if any(self._path.iterdir()):
                    raise VectorIndexError(f"{self._path} is not a store of encoded items: choose another folder")
                with replacing(file) as partial:
                    partial.write_text(json.dumps(wanted, indent=2) + "\n", encoding="utf-8")
            found = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise VectorIndexError(f"{file} cannot be read or written: {error}: choose another folder") from error
        for name, value in wanted.items():
            if not isinstance(found, dict) or found.get(name) != value:
                held = found.get(name) if isinstance(found, dict) else None
                raise VectorIndexError(
                    f"{file}: field {name} is {held!r}, not {value!r}: use the pack that encoded it, or another folder"
                )


def _damaged(file: Path, error: Exception) -> VectorIndexError:
    what = str(error).splitlines()[0] if str(error) else type(error).__name__
    return VectorIndexError(f"{file} is damaged ({what}): remove it, and its items are encoded again")
