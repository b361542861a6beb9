import gzip
import json
import logging

import pandas as pd
import pytest

from m6rec_core.errors import ConfigError, DataError
from m6rec_core.logs import check_logs, read_logs

ITEMS = "item_id,title,category\na,Boots,shoes\nb,Mug,\n"
USERS = "user_id,gender\nu,male\n"
EVENTS = "user_id,item_id,timestamp,kind,value\nu,b,20,click,\nu,a,10,click,1.5\nv,a,30,purchase,\n"


@pytest.fixture
def folder(tmp_path):
    """Return a function that writes tables (name -> text) over good ones and gives the folder."""

    def write(**tables):
        names = {"items": ITEMS, "users": USERS, "events": EVENTS} | tables
        for name, text in names.items():
            if text is not None:
                raw = text if isinstance(text, bytes) else text.encode()
                (tmp_path / (f"{name}.csv" if "." not in name else name)).write_bytes(raw)
        return tmp_path

    return write


def test_reads_and_sorts(folder):
    logs = read_logs(folder())
    assert logs.events["item_id"].tolist() == ["a", "b", "a"]
    assert logs.events.index.tolist() == [2, 1, 3]
    assert logs.events["timestamp"].tolist() == [10.0, 20.0, 30.0]
    assert logs.events["value"].isna().tolist() == [False, True, True]
    assert logs.items["category"].tolist()[0] == "shoes"
    assert logs.items["category"].isna().tolist() == [False, True]
    assert logs.domain.name == "products"
    assert logs.name == folder().name
    assert dict(logs.skipped) == {}


def test_equal_times_keep_the_order_of_the_file(folder):
    rows = "".join(f"u,{'ab'[n % 2]},{n // 5}\n" for n in range(20))
    logs = read_logs(folder(events="user_id,item_id,timestamp\n" + rows))
    assert logs.events.index.tolist() == list(range(1, 21))
    assert set(logs.events["kind"]) == {"event"}


def test_every_format_reads_the_same(tmp_path):
    columns = {
        "user_id": [1, 2],
        "item_id": ["a", "b"],
        "timestamp": [1.0, 2.0],
        "kind": ["k", "k"],
        "value": [3.0, None],
    }
    items = {"item_id": ["a", "b"], "title": ["A", None], "year": [1995.0, None], "genres": [["x", "y"], []]}
    expected = None
    for suffix in ("parquet", "jsonl", "jsonl.gz"):
        place = tmp_path / suffix
        place.mkdir()
        for name, cells in (("events", columns), ("items", items)):
            frame = pd.DataFrame(cells)
            if suffix == "parquet":
                frame.to_parquet(place / f"{name}.parquet")
            else:
                text = frame.to_json(orient="records", lines=True).encode()
                (place / f"{name}.{suffix}").write_bytes(gzip.compress(text) if suffix.endswith("gz") else text)
        logs = read_logs(place)
        items_read = logs.items.astype(object).where(logs.items.notna(), None).to_dict("list")
        assert items_read == {
            "item_id": ["a", "b"],
            "title": ["A", None],
            "year": ["1995", None],
            "genres": ["x, y", None],
        }
        assert logs.users.empty
        found = logs.events.astype({"value": float}).to_dict("list") | {"value": None}
        assert found["user_id"] == ["1", "2"]
        expected = expected or found
        assert found == expected


@pytest.mark.parametrize(
    ("times", "seconds", "form"),
    [
        (["1700000000", "1700000001.5"], [1700000000.0, 1700000001.5], "seconds"),
        (["1700000000000", "1700000001500"], [1700000000.0, 1700000001.5], "milliseconds"),
        (["2023-11-14T22:13:20Z", "2023-11-15T00:13:21+02:00"], [1700000000.0, 1700000001.0], "ISO 8601"),
        (["2023-11-14 22:13:20", "2023-11-15"], [1700000000.0, 1700006400.0], "ISO 8601"),
    ],
)
def test_time_forms(folder, times, seconds, form):
    place = folder(events="user_id,item_id,timestamp\n" + "".join(f"u,a,{time}\n" for time in times))
    assert read_logs(place).events["timestamp"].tolist() == seconds
    assert check_logs(place).found.time_form == form


HEAD = "user_id,item_id,timestamp"
BAD = [
    ({"events": None}, "events.*: there is no events table"),
    ({"items": None}, "items.*: there is no items table"),
    ({"events": "user_id,item_id,time\nu,a,1\n"}, "field 'timestamp': the column is missing; rename 'time'?"),
    ({"events": HEAD + "\n"}, "events.csv: the table is empty"),
    ({"items": ""}, "items.csv: the table is empty"),
    ({"events": HEAD + "\nu,a,1\nu,a,\n"}, "events.csv, row 2, field 'timestamp': is not a time (missing)"),
    ({"events": HEAD + "\nu,a,1\nu,a,nan\n"}, "row 2, field 'timestamp': is not a time (missing)"),
    ({"events": HEAD + "\nu,a,1\nu,a,2\nu,a,soon\n"}, "row 3, field 'timestamp': is not a time ('soon')"),
    ({"events": HEAD + "\nu,a,inf\nu,a,2\nu,a,2\n"}, "row 1, field 'timestamp'"),
    ({"events": HEAD + "\nu,a,1700000000\nu,a,1700000000000\nu,b,1700000001\n"},
     "row 2, field 'timestamp': '1700000000000' is not in seconds since 1970 like the rest"),
    ({"events": HEAD + "\nu,a,2020-01-01\nu,a,1700000000\nu,b,2020-01-03\n"}, "row 2, field 'timestamp'"),
    ({"events": HEAD + "\nu,a,2020-01-01T00:00Z\nu,a,2020-01-01T00:00\nu,b,2020-01-03T00:00Z\n"},
     "row 2, field 'timestamp': '2020-01-01T00:00' has no time zone"),
    ({"events": HEAD + ",value\nu,a,1,good\n"}, "row 1, field 'value': 'good' is not a number"),
    ({"events": HEAD + ",value\nu,a,1,inf\n"}, "row 1, field 'value': is infinite"),
    ({"events": HEAD + ",kind\nu,a,1,\n"}, "row 1, field 'kind': is missing"),
    ({"events": HEAD + "\n,a,1\n"}, "row 1, field 'user_id': is missing"),
    ({"events": HEAD + "\nu,a,1\nu,zz,2\n"}, "row 2, field 'item_id': 'zz' is not in items.csv"),
    ({"events": HEAD + ",value\nu,a,1,4\nu,a,1,2\n"}, "row 2, field 'value': 2 contradicts row 1"),
    ({"events": HEAD + "\nu,a,1,9\n"}, "events.csv, row 1: has 4 cells, the header has 3"),
    ({"events": "user_id,user_id,timestamp\nu,a,1\n"}, "the header names 'user_id' twice"),
    ({"items": "item_id,title\na,A\na,B\nb,C\n"}, "items.csv, row 2, field 'item_id': 'a' was already given in row 1"),
    ({"users": "user_id\nu\nv\nu\n"}, "users.csv, row 3, field 'user_id': 'u' was already given in row 1"),
    ({"items": f"item_id,title\na,A\nb,{'x' * 100_000}\n"}, "row 2, field 'title': has 100,000 characters"),
    ({"items": f"item_id,title\na,A\nb,{'x' * 200_000}\n"}, "items.csv, row 2: cannot be read"),
    ({"items": b"item_id,title\na,A\nb,Caf\xe9\n"}, "items.csv, row 2, field 'title': is not UTF-8 text"),
    ({"items": "item_id,title\na,A\n".encode("utf-16")}, "items.csv: the file is UTF-16"),
    ({"users.jsonl": "{}"}, "users.csv and users.jsonl are both the users table"),
    ({"items": None, "items.jsonl": '{"item_id": "a"}\n{"item_id": '}, "items.jsonl, row 2: is not JSON"),
    ({"items": None, "items.jsonl": '["a"]\n'}, "items.jsonl, row 1: is list, not an object"),
    ({"items": None, "items.jsonl": '{"item_id": "a", "title": {"x": 1}}\n'}, "row 1, field 'title': holds a dict"),
    ({"items": None, "items.jsonl": '{"item_id": 1.5}\n'}, "row 1, field 'item_id': 1.5 is not an id"),
    ({"items": None, "items.jsonl": '{"item_id": "a", "title": "\\ud800"}\n'}, "row 1, field 'title': is not UTF-8"),
    ({"items": None, "items.parquet": b"PAR1 no"}, "items.parquet: cannot be read as parquet"),
    ({"dataset.json": '{"nam": "x"}'}, "dataset.json, field 'nam'"),
    ({"dataset.json": "{"}, "dataset.json: cannot be read"),
]  # fmt: skip


@pytest.mark.parametrize(("tables", "message"), BAD, ids=range(len(BAD)))
def test_each_bad_input_is_one_line_with_its_place(folder, tables, message):
    with pytest.raises(DataError) as caught:
        read_logs(folder(**tables))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 1000


def test_a_missing_folder_and_an_unknown_domain(tmp_path, folder):
    with pytest.raises(DataError, match="there is no such folder"):
        read_logs(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match="did you mean 'movies'"):
        read_logs(folder(**{"dataset.json": '{"domain": "movis"}'}))


def test_a_domain_written_out_in_yaml(folder):
    card = (
        "name: wines\nterms: mine\n"
        "domain: {name: wine, noun: wine, people: drinkers, item: 'a {title}', short_item: '{title}'}\n"
    )
    logs = read_logs(folder(**{"dataset.yaml": card}))
    assert (logs.name, logs.domain.noun, logs.terms) == ("wines", "wine", "mine")


def test_bad_rows_are_skipped_counted_and_reported(folder, caplog):
    items = f"item_id,title\na,A\nb,{'x' * 100_000}\n"
    events = "user_id,item_id,timestamp\nu,a,1\nu,a,\nu,b,3\nu,zz,4\nu,a,5\n"
    with caplog.at_level(logging.WARNING):
        logs = read_logs(folder(items=items, events=events), skip_bad=True)
    assert logs.events.index.tolist() == [1, 5]
    assert logs.skipped == {"items.csv": 1, "events.csv": 3}
    assert "skipped 3 bad rows of events.csv" in caplog.text


def test_skipping_does_not_hide_a_bad_table_or_an_empty_rest(folder):
    with pytest.raises(DataError, match="the column is missing"):
        read_logs(folder(events="user_id,item_id\nu,a\n"), skip_bad=True)
    with pytest.raises(DataError, match="no usable row is left"):
        read_logs(folder(events="user_id,item_id,timestamp\nu,zz,1\n"), skip_bad=True)


def test_the_check_lists_everything(folder):
    events = "user_id,item_id,timestamp\n" + "u,zz,1\n" * 50 + "u,a,\nu,a,2\n"
    report = check_logs(folder(items="item_id,title\na,A\na,B\nb,\n", events=events))
    assert not report.ok
    assert report.problem_count == 52
    assert {(group.field, group.count, len(group.first)) for group in report.problems} == {
        ("item_id", 50, 10), ("timestamp", 1, 1), ("item_id", 1, 1),
    }  # fmt: skip
    assert report.rows == {"items.csv": 3, "users.csv": 1, "events.csv": 52}
    assert report.found.events == 1
    assert json.loads(report.model_dump_json())["problem_count"] == 52


def test_the_check_describes_a_good_folder(folder):
    report = check_logs(folder())
    assert report.ok
    found = report.found
    assert (found.users, found.items, found.events, found.described_users) == (2, 2, 3, 1)
    assert found.kinds == {"click": 2, "purchase": 1}
    assert (found.first, found.last) == ("1970-01-01T00:00:10+00:00", "1970-01-01T00:00:30+00:00")
    assert found.values == {"1.5": 1.0}
    assert found.untitled_share == 0.0
    assert found.cold_share == 1.0
    assert any("1 users have no row in users.csv" in note for note in report.notes)
