"""The recipes, samples from logs, and the baselines."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace

import pytest
from m6rec_plugin_query_generation.derive import derive
from m6rec_plugin_query_generation.qbqtc import write_qbqtc
from m6rec_plugin_query_generation.recipes import EXAMPLES, WEBSHOP, write_examples, write_webshop
from m6rec_plugin_query_generation.rivals import asked, first_words, last_words, nearest_query, whole_need
from m6rec_plugin_query_generation.sample import QuerySample
from m6rec_plugin_query_generation.settings import QueryConfig

from m6rec_core.config import EvaluationConfig
from m6rec_core.errors import DataError
from m6rec_core.logs import read_logs, read_samples
from m6rec_core.text.domains import PRODUCTS
from m6rec_core.types import RunView

PARTS = ("train", "valid", "test")


def read(folder):
    return {part: list(read_samples(folder / f"{part}.jsonl", QuerySample)) for part in PARTS}


def test_examples(tmp_path):
    write_examples(None, tmp_path)
    parts = read(tmp_path)
    assert [len(parts[part]) for part in PARTS] == [42, 6, 12]
    assert len({sample.id for part in PARTS for sample in parts[part]}) == 60
    assert len({sample.need for part in PARTS for sample in parts[part]}) == 60
    assert EXAMPLES.source == ""


@pytest.mark.parametrize("form", ["json", "jsonl", "jsonl.gz"])
def test_webshop_in_all_forms(tmp_path, form):
    goals = {f"I need thing {n}": [f"thing {n}", f"{n} thing", f"thing {n}"] for n in range(30)}
    goals["i need THING 3!"] = ["thing three"]  # the same goal in other letters
    source, target = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    target.mkdir()
    lines = "\n".join(json.dumps({"goal": goal, "queries": queries}) for goal, queries in goals.items())
    if form == "json":
        (source / "goal_query_map.json").write_text(json.dumps(goals))
    elif form == "jsonl":
        (source / "goal_query.jsonl").write_text(lines)
    else:
        (source / "goal_query.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    write_webshop(source, target)
    parts = read(target)
    assert [len({s.need.lower().rstrip("!") for s in parts[p]}) for p in PARTS] == [24, 3, 3]
    homes = {}
    for part in PARTS:
        for sample in parts[part]:
            homes.setdefault(sample.need.lower().rstrip("!"), set()).add(part)
    assert all(len(home) == 1 for home in homes.values())
    assert all(sample.query.startswith("thing") for sample in (*parts["valid"], *parts["test"]))
    assert sum(sample.query.endswith(" thing") for sample in parts["train"]) == 24
    assert "goal_query_map.json" in WEBSHOP.source


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"goal": "a"}', "line 1: is not an object with 'goal' and 'queries'"),
        ('{"goal": "a", "queries": [3]}', "line 1: field 'queries' is not a list of texts"),
        ('{"goal": "a", "queries": [" "]}', "line 1: the goal or all its queries are blank"),
        ("{", "line 1: is not JSON"),
        ("", "there are no goals in it"),
    ],
)
def test_webshop_says_what_is_wrong(tmp_path, content, message):
    (tmp_path / "goal_query.jsonl").write_text(content)
    with pytest.raises(DataError, match=message):
        write_webshop(tmp_path, tmp_path)


def test_webshop_without_files(tmp_path):
    with pytest.raises(DataError, match=r"there is none of goal_query_map\.json"):
        write_webshop(tmp_path, tmp_path)


@pytest.fixture
def logs(tmp_path):
    items = ["item_id,title,query"]
    items += [f"p{n},Product {n}," for n in range(5)] + [f"q{n},,query {n}" for n in range(5)] + ["q9,,"]
    events = ["user_id,item_id,timestamp,kind"]
    for user in range(10):
        events.append(f"u{user},q{user % 5},{10 * user},search")  # nothing leads to it
        events.append(f"u{user},p{user % 5},{10 * user + 1},click")
        events.append(f"u{user},q{(user + 1) % 5},{10 * user + 2},search")
    events.append("u3,q9,99,search")  # a search without a text
    (tmp_path / "items.csv").write_text("\n".join(items) + "\n")
    (tmp_path / "events.csv").write_text("\n".join(events) + "\n")
    (tmp_path / "dataset.json").write_text('{"name": "searches", "domain": "products"}')
    return read_logs(tmp_path)


def test_derive(logs):
    parts = derive(logs, QueryConfig(domain=PRODUCTS), 0)
    samples = [sample for part in PARTS for sample in parts[part]]
    assert len(samples) == 10
    assert all(sample.history and sample.query.startswith("query ") for sample in samples)
    assert all(event.timestamp < sample.timestamp for sample in samples for event in sample.history)
    assert [event.kind for event in samples[0].history] == ["search", "click"]
    times = [[sample.timestamp for sample in parts[part]] for part in PARTS]
    assert max(times[0]) < min(times[2])


def test_derive_without_searches(logs):
    with pytest.raises(DataError, match=r"no event is of kind typed .there are: click, search.*settings.search_kinds"):
        derive(logs, QueryConfig(domain=PRODUCTS, search_kinds=("typed",)), 0)


def view(train, config=None):
    def none(samples, title):
        raise AssertionError(title)

    return RunView(
        parts={"train": train, "valid": (), "test": ()}, settings=config or QueryConfig(domain=PRODUCTS),
        evaluation=EvaluationConfig(), logs=None, answer=none, losses=none, seed=0, main=True, say=print, output=None,
    )  # fmt: skip


def test_baselines(samples):
    train = (
        *samples,
        QuerySample(id="d", need="a lamp for reading in bed", query="bed reading lamp"),
        QuerySample(id="e", need="cheap phone", query="cheap phone with buttons"),
    )
    asking = [QuerySample(id="x", need="a Lamp for my desk"), samples[1].model_copy(update={"query": None})]
    run = view(train)
    assert nearest_query(run, asking) == ["bed reading lamp", "boot wax"]
    assert first_words(run, asking) == ["a Lamp", "wool socks"]
    assert last_words(run, asking) == ["my desk", "wool socks"]
    assert whole_need(run, asking) == ["a Lamp for my desk", "wool socks"]
    assert asked(asking[1]) == "boots shoes wool socks shoes"
    empty = view(())
    assert nearest_query(empty, asking) is first_words(empty, asking) is None


def test_baselines_in_chinese():
    train = [
        QuerySample(id="a", need="我想买一台便宜的手机", query="便宜手机"),
        QuerySample(id="b", need="儿童雨鞋", query="雨鞋"),
    ]
    run = replace(view(train), settings=QueryConfig(domain=PRODUCTS, metric_tokens="zh"))
    asking = [QuerySample(id="x", need="给儿童买雨鞋")]
    assert nearest_query(run, asking) == ["雨鞋"]
    assert first_words(run, asking) == ["给儿童"]


@pytest.mark.parametrize("form", ["json", "jsonl.gz"])
def test_qbqtc_keeps_relevant_pairs_and_each_query_in_one_part(tmp_path, form):
    rows = [
        {"id": n, "query": f"查询{n % 40}", "title": f"标题 {n}", "label": str(n % 3) if n % 2 else n % 3}
        for n in range(240)
    ]
    source, target = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    target.mkdir()
    for stem, part in (("dev", rows[:150]), ("test_public", rows[150:])):
        text = "\n".join(json.dumps(row, ensure_ascii=False) for row in part).encode()
        (source / f"{stem}.{form}").write_bytes(gzip.compress(text) if form.endswith("gz") else text)
    write_qbqtc(source, target)
    parts = read(target)
    assert sum(map(len, parts.values())) == sum(str(row["label"]) == "2" for row in rows)
    homes = {part: {sample.query for sample in parts[part]} for part in PARTS}
    assert [len(homes[part]) for part in PARTS] == [32, 4, 4]
    assert len(set.union(*homes.values())) == 40
    assert len({sample.id for part in PARTS for sample in parts[part]}) == sum(map(len, parts.values()))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "line 1: is not JSON"),
        ("3", "line 1: is int, not an object"),
        ('{"query": "a", "label": "2"}', "line 1: field 'title' is missing"),
        ('{"query": "a", "title": "b"}', "line 1: field 'label' is missing"),
        ('{"query": "a", "title": "b", "label": "0"}', "no pair with label 2"),
        (None, "there is none of train.json"),
    ],
)
def test_qbqtc_says_what_is_wrong(tmp_path, content, message):
    if content is not None:
        (tmp_path / "dev.json").write_text(content)
    with pytest.raises(DataError, match=message):
        write_qbqtc(tmp_path, tmp_path)
