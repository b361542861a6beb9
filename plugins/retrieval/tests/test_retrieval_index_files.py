"""Index folders: what is written is read back, and damage is one line."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from m6rec_plugin_retrieval.index import (
    EncodedCatalogue,
    ExactIndex,
    HnswIndex,
    Recall,
    StoredIndex,
    VectorIndexError,
    load_index,
    read_index_manifest,
    read_items,
    save_index,
)
from m6rec_plugin_retrieval.index.catalogue import digest

from m6rec_core.errors import DataError

RECALL = Recall(10, 0.9, 0.95, 50, "items")


def units(count, seed=0):
    found = np.random.default_rng(seed).standard_normal((count, 8)).astype(np.float32)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


@pytest.fixture(params=[ExactIndex, HnswIndex], ids=["exact", "hnsw"])
def saved(request, tmp_path):
    index = request.param(8)
    index.add([f"film\n{n} é" for n in range(30)], units(30))
    index.delete(["film\n3 é"])
    save_index(tmp_path / "index", StoredIndex(index, "a" * 64, RECALL, 2))
    return tmp_path / "index", index


def test_what_is_written_is_read_back(saved):
    path, index = saved
    found = load_index(path, "a" * 64)
    assert found.index.search(units(3, 1), 29) == index.search(units(3, 1), 29)
    assert (found.recall, found.changes, found.pack_hash) == (RECALL, 2, "a" * 64)
    assert [entry.name for entry in path.parent.iterdir()] == ["index"]
    found.index.add(["more"], units(1, 2))
    assert found.index.search(units(1, 2), 1)[0].ids == ("more",)


def test_another_pack_is_refused(saved):
    with pytest.raises(VectorIndexError, match="was built with task pack aaaaaaaaaaaa, not with bbbbbbbbbbbb"):
        load_index(saved[0], "b" * 64)


@pytest.mark.parametrize("harm", ["flip", "cut", "remove"])
def test_each_damaged_file_is_noticed(saved, harm):
    path = saved[0]
    for name in sorted(entry.name for entry in path.iterdir()):
        file = path / name
        good = file.read_bytes()
        if harm == "remove":
            file.unlink()
        else:
            middle = len(good) // 2
            flipped = good[:middle] + bytes([good[middle] ^ 255]) + good[middle + 1 :]
            file.write_bytes(good[:middle] if harm == "cut" else flipped)
        with pytest.raises(VectorIndexError, match=name) as caught:
            load_index(path, None)
        assert "\n" not in str(caught.value)
        file.write_bytes(good)
    assert len(load_index(path, None).index) == 29


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("format", 2, "field format is 2"),
        ("count", 7, "field count"),
        ("width", 9, "width"),
        ("backend", "tree", "field backend"),
        ("graph", 1, "field graph"),
        ("surprise", 1, "field surprise"),
    ],
)
def test_a_changed_manifest_is_noticed(saved, field, value, message):
    file = saved[0] / "index.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), field: value}))
    with pytest.raises(VectorIndexError, match=message):
        load_index(saved[0], None)


def test_nothing_is_replaced_unasked_and_no_other_folder_at_all(saved):
    path, index = saved
    with pytest.raises(VectorIndexError, match="exists already"):
        save_index(path, StoredIndex(index, "c"))
    (path / "thesis.txt").write_text("dear")
    with pytest.raises(VectorIndexError, match="not just an index"):
        save_index(path, StoredIndex(index, "c"), overwrite=True)
    assert read_index_manifest(path).pack_sha256 == "a" * 64


def test_a_failed_write_leaves_the_old_index(saved, monkeypatch):
    def full(*_):
        raise OSError("no space left")

    path, index = saved
    monkeypatch.setattr("m6rec_plugin_retrieval.index.files._write_ids", full)
    with pytest.raises(VectorIndexError, match="no space left"):
        save_index(path, StoredIndex(index, "c"), overwrite=True)
    assert load_index(path, "a" * 64).index.ids() == index.ids()
    assert [entry.name for entry in path.parent.iterdir()] == ["index"]


def test_a_text_is_encoded_once(tmp_path):
    items = [("a", "one"), ("b", "two"), ("c", "one")]
    store = EncodedCatalogue(tmp_path / "s", "p", 8)
    assert store.missing(items) == items[:2]
    store.write_shard(items[:2], units(2))
    again = EncodedCatalogue(tmp_path / "s", "p", 8)
    assert again.missing([*items, ("b", "two, changed")]) == [("b", "two, changed")]
    again.write_shard([("b", "two, changed")], units(1, 5))
    texts = ["two, changed", "one", "two"]
    found = EncodedCatalogue(tmp_path / "s", "p", 8).vectors([digest(text) for text in texts])
    assert np.array_equal(found, np.concatenate([units(1, 5), units(2)]))
    again.write_shard([], units(0))
    assert len(again) == 3


def test_shards_written_before_a_failure_stay(tmp_path, monkeypatch):
    store = EncodedCatalogue(tmp_path / "s", "p", 8)
    store.write_shard([("a", "one")], units(1))
    with pytest.raises(VectorIndexError, match="item 'b'"):
        store.write_shard([("b", "two")], units(1) * 3)

    def full(*_):
        raise OSError("no space left")

    monkeypatch.setattr("m6rec_plugin_retrieval.index.catalogue.pq.write_table", full)
    with pytest.raises(VectorIndexError, match="no space left"):
        store.write_shard([("b", "two")], units(1))
    assert EncodedCatalogue(tmp_path / "s", "p", 8).missing([("a", "one"), ("b", "two")]) == [("b", "two")]


def test_a_store_of_another_pack_or_a_damaged_shard_is_refused(tmp_path):
    store = EncodedCatalogue(tmp_path / "s", "p", 8)
    store.write_shard([("a", "one")], units(1))
    with pytest.raises(VectorIndexError, match="field pack_sha256 is 'p', not 'q'"):
        EncodedCatalogue(tmp_path / "s", "q", 8)
    with pytest.raises(VectorIndexError, match="field width is 8, not 9"):
        EncodedCatalogue(tmp_path / "s", "p", 9)
    with pytest.raises(VectorIndexError, match="encode it first"):
        store.vectors([digest("two")])
    shard = next((tmp_path / "s").glob("part-*"))
    shard.write_bytes(shard.read_bytes()[:50])
    with pytest.raises(VectorIndexError, match="remove it, and its items are encoded again"):
        EncodedCatalogue(tmp_path / "s", "p", 8)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").write_text("dear")
    with pytest.raises(VectorIndexError, match="not a store"):
        EncodedCatalogue(tmp_path / "other", "p", 8)


def test_items_come_in_batches_from_all_shards(tmp_path):
    for shard in range(3):
        ids = [f"{shard}-{n}" for n in range(5)]
        pq.write_table(pa.table({"item_id": ids, "title": ["t", None, "u", "", "v"]}), tmp_path / f"{shard}.parquet")
    found = list(read_items(tmp_path, 2))
    assert all(len(batch) <= 2 for batch in found)
    items = [item for batch in found for item in batch]
    assert [item.item_id for item in items] == [f"{shard}-{n}" for shard in range(3) for n in range(5)]
    assert [dict(item.fields) for item in items[:4]] == [{"title": "t"}, {}, {"title": "u"}, {}]
    assert [i.item_id for batch in read_items(tmp_path / "1.parquet") for i in batch] == [f"1-{n}" for n in range(5)]


def test_bad_item_tables_are_one_line(tmp_path):
    with pytest.raises(DataError, match="does not exist"):
        list(read_items(tmp_path / "none"))
    with pytest.raises(DataError, match="no parquet file"):
        list(read_items(tmp_path))
    pq.write_table(pa.table({"id": ["a"]}), tmp_path / "a.parquet")
    with pytest.raises(DataError, match="column item_id is missing"):
        list(read_items(tmp_path))
    pq.write_table(pa.table({"item_id": ["a", None]}), tmp_path / "a.parquet")
    with pytest.raises(DataError, match="row 1: field item_id is empty"):
        list(read_items(tmp_path))
    (tmp_path / "a.parquet").write_text("no parquet")
    with pytest.raises(DataError, match="cannot be read as parquet"):
        list(read_items(tmp_path))
