"""`m6rec index` with an encoder that counts what it encodes."""

from __future__ import annotations

import hashlib
import json
import sys
from types import ModuleType

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from m6rec_plugin_retrieval import encoding
from m6rec_plugin_retrieval.index import load_index
from m6rec_plugin_retrieval.index_command import index

from m6rec_core.errors import M6RecError
from m6rec_core.types import Item


class FakeEncoder:
    """Vectors drawn from the text's hash."""

    pack_hash = "f" * 64
    width = 8

    def __init__(self):
        self.encoded = 0

    def texts(self, items):
        return [", ".join(item.fields.values()) for item in items]

    def encode(self, items):
        self.encoded += len(items)
        seeds = [int.from_bytes(hashlib.sha256(text.encode()).digest()[:4]) for text in self.texts(items)]
        found = np.array([np.random.default_rng(seed).standard_normal(8) for seed in seeds], dtype=np.float32)
        return found / np.linalg.norm(found, axis=1, keepdims=True)


@pytest.fixture
def encoder(monkeypatch):
    fake = FakeEncoder()
    module = ModuleType("m6rec_plugin_retrieval.encoding")
    module.open_encoder = lambda pack, backbone=None: fake
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return fake


def table(path, count, start=0, titles=None):
    ids = [f"i{n}" for n in range(start, start + count)]
    pq.write_table(pa.table({"item_id": ids, "title": titles or [f"Film {i}" for i in ids]}), path)
    return str(path)


def call(*arguments):
    found = CliRunner().invoke(index, [*map(str, arguments), "--json"], catch_exceptions=False)
    assert found.exit_code == 0, found.output
    return json.loads(found.stdout)


def test_how_far_an_encoding_is_is_told_in_parts_and_changes_nothing(monkeypatch):
    fake, lines = FakeEncoder(), []
    monkeypatch.setattr(encoding, "TOLD", 2)
    items = [Item(item_id=f"i{n}", fields={"title": f"Film {n}"}) for n in range(5)]
    found = encoding.ItemEncoder.encode_catalogue(fake, items, lines.append)
    assert np.array_equal(found, fake.encode(items))
    assert [line.split(",")[0] for line in lines] == [f"encoding items: {n} of 5" for n in (2, 4, 5)]
    assert lines[-1].endswith("0 s left")


@pytest.mark.parametrize("backend", ["exact", "hnsw"])
def test_build_add_delete_and_info(tmp_path, encoder, backend):
    path, items = tmp_path / "index", table(tmp_path / "a.parquet", 50)
    built = call("build", "--pack", "p", "--items", items, "--output", path, "--backend", backend, "--batch", 7)
    assert (built["count"], built["encoded"], built["reused"], encoder.encoded) == (50, 50, 0, 50)
    again = call("build", "--pack", "p", "--items", items, "--output", path, "--backend", backend, "--force")
    assert (again["count"], again["encoded"], again["reused"], encoder.encoded) == (50, 0, 50, 50)
    more = table(tmp_path / "b.parquet", 10, 45, [f"New {n}" for n in range(10)])
    with pytest.raises(M6RecError, match="'i45' is in the index already"):
        call("add", path, "--pack", "p", "--items", more)
    added = call("add", path, "--pack", "p", "--items", more, "--update")
    assert (added["added"], added["updated"], added["count"]) == (5, 5, 55)
    (tmp_path / "ids.txt").write_text("i1\ni2\n")
    assert call("delete", path, "--id", "i0", "--ids", tmp_path / "ids.txt")["count"] == 52
    told = call("info", path)
    assert (told["count"], told["backend"], told["pack_sha256"]) == (52, backend, "f" * 64)
    assert {"i0", "i1", "i2"}.isdisjoint(load_index(path, None).index.ids())


def test_an_interrupted_build_goes_on_where_it_stopped(tmp_path, encoder, monkeypatch):
    items = table(tmp_path / "a.parquet", 30)
    encode = encoder.encode

    def breaks(batch):
        if encoder.encoded >= 20:
            raise KeyboardInterrupt
        return encode(batch)

    monkeypatch.setattr(encoder, "encode", breaks)
    order = ["build", "--pack", "p", "--items", items, "--output", str(tmp_path / "index"), "--batch", "10"]
    assert CliRunner().invoke(index, order).exit_code != 0
    assert not (tmp_path / "index").exists()
    monkeypatch.setattr(encoder, "encode", encode)
    assert call(*order)["encoded"] == 10


@pytest.mark.parametrize(
    ("ids", "titles", "message"),
    [
        (["a", "a"], ["x", "y"], "item id 'a' comes twice"),
        (["a", "b"], ["x", " "], "item 'b' has no text"),
        ([], [], "holds no items"),
    ],
)
@pytest.mark.parametrize("batch", [1, 100])
def test_bad_catalogues_write_no_index(tmp_path, encoder, ids, titles, message, batch):
    columns = {"item_id": pa.array(ids, pa.string()), "title": pa.array(titles, pa.string())}
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    with pytest.raises(M6RecError, match=message):
        call("build", "--pack", "p", "--items", tmp_path / "a.parquet", "--output", tmp_path / "o", "--batch", batch)
    assert not (tmp_path / "o").exists()


def test_the_words_say_what_was_measured(tmp_path, encoder):
    items = table(tmp_path / "a.parquet", 300)
    order = ["build", "--pack", "p", "--items", items, "--output", str(tmp_path / "o"), "--backend", "hnsw"]
    said = CliRunner().invoke(index, [*order, "--top", "10"], catch_exceptions=False).output
    assert "300 items of width 8, hnsw" in said
    assert "recall@10: " in said
    assert "target 0.99" in said
    assert CliRunner().invoke(index, ["delete", str(tmp_path / "o")]).exit_code == 2
