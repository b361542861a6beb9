"""Two processes encode a catalogue as one does, and go on where they were stopped."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from m6rec_plugin_retrieval.index import load_index
from m6rec_plugin_retrieval.index_command import _encode_all

from m6rec_core.errors import DataError
from m6rec_core.serving.processes import Processes


def shards(folder: Path, count: int = 26) -> Path:
    """Items in three files; the last ones have texts that others have too."""
    folder.mkdir()
    titles = [f"Film {n}" if n < count - 3 else f"Film {n - 20}" for n in range(count)]
    for part, rows in enumerate(np.array_split(np.arange(count), 3)):
        columns = {"item_id": [f"i{n}" for n in rows], "title": [titles[n] for n in rows]}
        pq.write_table(pa.table(columns), folder / f"{part}.parquet")
    return folder


def built(retrieval_run: Path, backbone: Path, items: Path, output: Path, *more: str) -> dict[str, object]:
    command = [
        sys.executable, "-m", "m6rec_core", "index", "build", "--pack", retrieval_run / "pack", "--items", items,
        "--output", output, "--backbone", backbone, "--batch", "4", "--backend", "exact", "--json", *more,
    ]  # fmt: skip
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False, env={**os.environ})
    assert done.returncode == 0, done.stderr
    found: dict[str, object] = json.loads(done.stdout)
    return found


def test_two_processes_encode_what_one_does_and_what_is_left(retrieval_run, small, tmp_path):
    items = shards(tmp_path / "items")
    one = built(retrieval_run, small.backbone, items, tmp_path / "one")
    two = built(retrieval_run, small.backbone, items, tmp_path / "two", "--num-processes", "2")
    assert one["encoded"] == two["encoded"] == 23
    left, right = (load_index(tmp_path / name, None).index for name in ("one", "two"))
    ids = left.ids()
    assert list(ids) == list(right.ids()) == sorted(f"i{n}" for n in range(26))
    np.testing.assert_allclose(left.vectors(ids), right.vectors(ids), atol=1e-5)
    store = next((tmp_path / "two.encoded").iterdir())
    parts = sorted(store.glob("part-*.parquet"))
    lost = sum(pq.read_metadata(part).num_rows for part in parts[1::2])
    for part in parts[1::2]:
        part.unlink()
    again = built(retrieval_run, small.backbone, items, tmp_path / "two", "--num-processes", "2", "--force")
    assert again["encoded"] == lost > 0
    found = load_index(tmp_path / "two", None).index
    np.testing.assert_allclose(found.vectors(ids), left.vectors(ids), atol=1e-5)


class Store:
    """What `EncodedCatalogue` is asked, with the texts it has."""

    def __init__(self, known: set[str]) -> None:
        self.known, self.shards = set(known), []

    def missing(self, pairs):
        return list({text: (item, text) for item, text in pairs if text not in self.known}.values())

    def expect(self, pairs):
        self.known |= {text for _, text in pairs}

    def write_shard(self, pairs, vectors):
        self.shards.append([text for _, text in pairs])
        self.expect(pairs)


class Encoder:
    """Texts are titles; vectors are of no interest."""

    def texts(self, items):
        return [item.fields["title"] for item in items]

    def encode(self, items):
        return np.zeros((len(items), 2))


@pytest.mark.parametrize("size", [1, 2, 3, 5])
@pytest.mark.parametrize("known", [set(), {"Film 0", "Film 1", "Film 2", "Film 3", "Film 9"}])
def test_every_text_is_encoded_by_one_process_of_the_group(tmp_path, size, known):
    items = shards(tmp_path / "items")
    stores, told = [], []
    for rank in range(size):
        stores.append(Store(known))
        told.append(_encode_all(Encoder(), stores[-1], items, 4, Processes(rank, size)))
    encoded = [text for store in stores for shard in store.shards for text in shard]
    assert len(encoded) == len(set(encoded)) == told[0][2]
    assert set(encoded) | known == {f"Film {n}" for n in range(23)} | known
    assert all(one == told[0] for one in told)
    sizes = [len(store.shards) for store in stores]
    assert max(sizes) - min(sizes) <= 1, "shards are dealt evenly"


def test_every_process_refuses_bad_items(tmp_path):
    items = shards(tmp_path / "items")
    pq.write_table(pa.table({"item_id": ["i3"], "title": ["again"]}), items / "9.parquet")
    for rank in range(2):
        with pytest.raises(DataError, match="item id 'i3' comes twice"):
            _encode_all(Encoder(), Store(set()), items, 4, Processes(rank, 2))
