"""Files that recipes and commands are given: plain and gzip alike, and one line of error for what cannot be read."""

from __future__ import annotations

import gzip
import json

import pytest

from m6rec_core.errors import DataError
from m6rec_core.logs.source_files import field, find, needed, read_objects, read_text, text_lines

ROWS = [{"n": n, "title": f"Film {n} 电影"} for n in range(3000)]
TEXT = "\ufeff" + "\n".join(json.dumps(row, ensure_ascii=False) for row in ROWS).replace("\n", "\n\n", 1)


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.jsonl.gz"])
def test_plain_and_gzip_are_alike(tmp_path, name):
    file = tmp_path / name
    file.write_bytes(gzip.compress(TEXT.encode()) if name.endswith("gz") else TEXT.encode())
    found = list(read_objects(file))
    assert [row for _, row in found] == ROWS
    assert [place for place, _ in found[:2]] == [f"{file}, line 1", f"{file}, line 3"], "blank lines count"
    assert read_text(file) == TEXT[1:]
    assert find(tmp_path, ["rows.jsonl"]) == file == needed(tmp_path, ["other", "rows.jsonl"], "films")


@pytest.mark.parametrize("spoil", ["cut short", "damaged inside", "no gzip", "no UTF-8"])
def test_what_cannot_be_read_is_one_error_naming_the_file(tmp_path, spoil):
    file, packed = tmp_path / "rows.jsonl.gz", bytearray(gzip.compress(TEXT.encode()))
    if spoil == "damaged inside":
        packed[200:400] = bytes(200)
    content = {"cut short": bytes(packed[:-50]), "damaged inside": bytes(packed), "no gzip": b"{}",
               "no UTF-8": gzip.compress(b'{"a": "\xff"}')}[spoil]  # fmt: skip
    file.write_bytes(content)
    for read in (read_text, lambda path: list(read_objects(path))):
        with pytest.raises(DataError, match=r"rows\.jsonl\.gz.*cannot be read"):
            read(file)


def test_what_is_missing_or_of_another_kind_is_named(tmp_path):
    with pytest.raises(DataError, match=r"there is none of a\.json, b\.json"):
        needed(tmp_path, ["a.json", "b.json"], "films")
    with pytest.raises(DataError, match="needs a folder"):
        needed(None, ["a.json"], "films")
    (tmp_path / "a.jsonl").write_text("[1]\n")
    with pytest.raises(DataError, match="line 1: is list, not an object"):
        list(read_objects(tmp_path / "a.jsonl"))
    with pytest.raises(DataError, match="line 4, field 'n': is missing or of the wrong type"):
        field("line 4", {"n": True}, "n", int)
    with pytest.raises(DataError, match=r"--ids .*none.txt: cannot be read .*one item id a line"):
        text_lines(tmp_path / "none.txt", "--ids", "item id")
