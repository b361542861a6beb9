"""Columns whose type is not known from the first rows, and rows of unlike types, all come back."""

from __future__ import annotations

import json
import os

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from m6rec_core.runs.parquet_rows import ParquetRows


def written(path, *calls):
    with ParquetRows(path) as write:
        for rows in calls:
            write(rows)
    return pq.read_table(path).to_pylist()


@pytest.mark.parametrize(
    ("first", "later", "expected"),
    [
        (None, "text", [None, "text"]),
        (None, {"a": 1}, [None, {"a": 1}]),
        (1, 2.5, [1.0, 2.5]),
        ([], ["a"], [[], ["a"]]),
        ([None], [{"a": 1, "b": None}], [[None], [{"a": 1, "b": None}]]),
        (1, "one", ["1", "one"]),
        (True, 7, ["true", "7"]),
        (2**60 + 1, 0.5, [str(2**60 + 1), "0.5"]),
        (1, 2**70, ["1", str(2**70)]),
        ([1], "one", ["[1]", "one"]),
        ({"a": 1}, {"a": "x"}, ['{"a": 1}', '{"a": "x"}']),
    ],
)
def test_a_later_row_of_another_type(tmp_path, first, later, expected):
    apart = written(tmp_path / "apart.parquet", [{"id": "0", "x": first}], [{"id": "1", "x": later}])
    assert [row["x"] for row in apart] == expected
    assert [row["id"] for row in apart] == ["0", "1"]
    together = written(tmp_path / "together.parquet", [{"x": first}, {"x": later}])
    assert [row["x"] for row in together] == expected
    assert sorted(os.listdir(tmp_path)) == ["apart.parquet", "together.parquet"]


def test_a_column_that_comes_late(tmp_path):
    found = written(tmp_path / "x.parquet", [{"a": 1}], [], [{"a": 2, "b": "x"}], [{"b": "y"}])
    assert found == [{"a": 1, "b": None}, {"a": 2, "b": "x"}, {"a": None, "b": "y"}]


CELLS = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.text(max_size=3) | st.lists(st.integers(0, 9))


@settings(max_examples=15, deadline=None)
@given(st.lists(st.lists(CELLS, min_size=1, max_size=3), min_size=1, max_size=4))
def test_no_row_is_lost(tmp_path_factory, calls):
    path = tmp_path_factory.mktemp("rows") / "x.parquet"
    found = [row["x"] for row in written(path, *([{"x": cell} for cell in call] for call in calls))]
    cells = [cell for call in calls for cell in call]
    assert len(found) == len(cells)
    for cell, read in zip(cells, found, strict=True):
        assert read in (cell, json.dumps(cell, ensure_ascii=False))


def test_what_fails_leaves_nothing(tmp_path):
    with pytest.raises(KeyError), ParquetRows(tmp_path / "x.parquet") as write:
        write([{"a": {}["b"]}])
    assert os.listdir(tmp_path) == []
