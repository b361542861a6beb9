"""The recipes, samples from logs, the baselines and the catalogue."""

from __future__ import annotations

import gzip
import json

import pytest
from m6rec_plugin_product_design.derive import derive
from m6rec_plugin_product_design.recipes import (
    EXAMPLES,
    FASHION,
    write_examples,
    write_fashion,
    write_games,
    write_industrial,
)
from m6rec_plugin_product_design.report import catalogue
from m6rec_plugin_product_design.rivals import asked, last_title, nearest_product, popular_title, wishes
from m6rec_plugin_product_design.sample import DesignSample
from m6rec_plugin_product_design.settings import DesignConfig

from m6rec_core.config import EvaluationConfig
from m6rec_core.errors import DataError
from m6rec_core.logs import read_logs, read_samples
from m6rec_core.text.domains import PRODUCTS
from m6rec_core.types import Event, Item, RunView

PARTS = ("train", "valid", "test")


def read(folder):
    return {part: list(read_samples(folder / f"{part}.jsonl", DesignSample)) for part in PARTS}


@pytest.fixture
def folders(tmp_path):
    source, target = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    target.mkdir()
    return source, target


def history_of(sample):
    return [event.item.fields["title"] for event in sample.history]


def test_examples(tmp_path):
    write_examples(None, tmp_path)
    parts = read(tmp_path)
    assert [len(parts[part]) for part in PARTS] == [35, 5, 10]
    assert all(sample.category and sample.title and sample.history for part in PARTS for sample in parts[part])
    assert len({sample.title for part in PARTS for sample in parts[part]}) == 50
    assert EXAMPLES.source == ""


def test_industrial(folders):
    source, target = folders
    items = [{"item_id": n, "title": f"Screw {n}", "categories": ""} for n in range(9)]
    items.append({"item_id": 9, "title": " "})
    lines = "\n".join(map(json.dumps, items))
    (source / "items.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    (source / "valid.csv").write_text("user_id,item_id,history_item_id\nu,3,0 1 9 2\nu,4,0 1 9 2 3\nv,5,9\n")
    (source / "test.csv").write_text("user_id,item_id,history_item_id\nu,5,0 1 9 2 3 4\n")
    write_industrial(source, target)
    parts = read(target)
    assert [(history_of(s), s.title) for s in parts["test"]] == [([f"Screw {n}" for n in range(5)], "Screw 5")]
    assert [s.title for s in parts["valid"]] == ["Screw 3", "Screw 4"]  # v has no titled history
    assert [(history_of(s), s.title) for s in parts["train"]] == [
        (["Screw 0"], "Screw 1"),
        (["Screw 0", "Screw 1"], "Screw 2"),  # 3 and 4 are asked of valid rows
    ]
    (source / "train.csv").write_text("user_id,item_id,history_item_id\nw,7,8\n")
    write_industrial(source, target)
    assert [s.title for s in read(target)["train"]] == ["Screw 7"]
    (source / "test.csv").write_text("user_id,item_id,history_item_id\nu,99,0\n")
    with pytest.raises(DataError, match=r"test.csv, row 1, field 'item_id': '99' has no title"):
        write_industrial(source, target)


def test_games(folders):
    source, target = folders
    items = "".join(f'{n}\tGame "{n}"\n' for n in range(20))
    (source / "items.tsv").write_text(f"item_id:token\ttitle:token_seq\n{items}")
    (source / "sequences.tsv").write_text(
        f"user_id\titem_id_list\titem_id\n0\t{' '.join(map(str, range(15)))}\t15\n1\t3\t4\n"
    )
    write_games(source, target)
    parts = read(target)
    assert [s.title for s in parts["test"]] == ['Game "15"', 'Game "4"']
    assert [s.title for s in parts["valid"]] == ['Game "14"']
    assert history_of(parts["train"][0]) == [f'Game "{n}"' for n in range(3, 13)]
    assert parts["train"][0].category == ""


HEADER = "id,gender,masterCategory,subCategory,articleType,baseColour,season,year,usage,productDisplayName\n"


def test_fashion(folders):
    source, target = folders
    rows = [f"{n},Men,A,B,Shirts,Blue,Fall,2011,Casual,Shirt {n}" for n in range(20)]
    rows += ["20,Men,A,B,Shirts,Red,Fall,2011,Casual,SHIRT 3", "21,Men,A,B,Shirts,Red,NA,2011,NA,NA"]
    rows += ["22,NA,A,B,Caps,Red,NA,2011,NA,Cap, red, for men"]  # commas without quotes, as in the public file
    (source / "styles.csv").write_text(HEADER + "\n".join(rows) + "\n")
    write_fashion(source, target)
    parts = read(target)
    samples = {sample.id: sample for part in PARTS for sample in parts[part]}
    assert len(samples) == 22
    assert samples["22"].title == "Cap, red, for men"
    assert samples["22"].attributes == {"colour": "Red"}
    assert samples["0"].attributes == {"gender": "Men", "colour": "Blue", "season": "Fall", "usage": "Casual"}
    home = {sample.id: part for part in PARTS for sample in parts[part]}
    assert home["3"] == home["20"]  # the same title
    assert "styles.csv" in FASHION.source


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (HEADER + "1,Men\n", "row 1: it has 2 cells, the header 10"),
        ("id,gender\n", "there is no column 'baseColour'"),
        ("", "there is no column 'id' .there are: none"),
    ],
)
def test_fashion_says_what_is_wrong(folders, content, message):
    source, target = folders
    (source / "styles.csv").write_text(content)
    with pytest.raises(DataError, match=message):
        write_fashion(source, target)


def test_recipes_without_files(folders):
    source, target = folders
    with pytest.raises(DataError, match=r"there is no styles.csv or styles.csv.gz"):
        write_fashion(source, target)
    with pytest.raises(DataError, match=r"'amazon-industrial' needs a folder with items.jsonl"):
        write_industrial(None, target)
    (source / "items.jsonl").write_text('{"item_id": 1}\n')
    with pytest.raises(DataError, match=r"items.jsonl, line 1, field 'title'"):
        write_industrial(source, target)


@pytest.fixture
def logs(tmp_path):
    items = ["item_id,title,category"] + [f"p{n},Product {n % 4},kind {n % 2}" for n in range(5)] + ["p5,,x"]
    events = ["user_id,item_id,timestamp,kind,value"]
    for user in range(10):
        events.append(f"u{user},p{user % 5},{10 * user},view,")
        events.append(f"u{user},p{(user + 1) % 5},{10 * user + 1},purchase,")
        events.append(f"u{user},p{(user + 2) % 6},{10 * user + 2},rating,{user % 5 + 1}")
    (tmp_path / "items.csv").write_text("\n".join(items) + "\n")
    (tmp_path / "events.csv").write_text("\n".join(events) + "\n")
    (tmp_path / "dataset.json").write_text('{"name": "shop", "domain": "products"}')
    return read_logs(tmp_path)


def test_derive(logs):
    config = DesignConfig(domain=PRODUCTS, bought_kinds=("purchase", "rating"))
    parts = derive(logs, config, 0)
    samples = [sample for part in PARTS for sample in parts[part]]
    assert all(event.timestamp < sample.timestamp for sample in samples for event in sample.history)
    assert all(sample.history and sample.title and sample.category for sample in samples)
    assert len(samples) == 12  # 10 purchases, 4 good ratings, 2 of them of the nameless item
    times = [[sample.timestamp for sample in parts[part]] for part in PARTS]
    assert max(times[0]) < min(times[2])
    with pytest.raises(DataError, match=r"no event is of kind buy .there are: purchase, rating, view"):
        derive(logs, DesignConfig(domain=PRODUCTS, bought_kinds=("buy",)), 0)
    with pytest.raises(DataError, match=r"settings.title_field"):
        derive(logs, DesignConfig(domain=PRODUCTS, title_field="name"), 0)


def view(train, config=None, logs=None, test=()):
    def none(samples, title):
        raise AssertionError(title)

    return RunView(
        parts={"train": train, "valid": (), "test": test}, settings=config or DesignConfig(domain=PRODUCTS),
        evaluation=EvaluationConfig(), logs=logs, answer=none, losses=none, seed=0, main=True, say=print, output=None,
    )  # fmt: skip


def row(name, history, category, title, **more):
    events = tuple(
        Event(item=Item(item_id=str(n), fields={"title": t, "category": c}), kind="purchase", timestamp=float(n))
        for n, (c, t) in enumerate(history)
    )
    return DesignSample(id=name, history=events, category=category, title=title, **more)


TRAIN = (
    row("a", [("shoes", "red boots")], "shoes", "boots"),
    row("b", [("shoes", "blue boots")], "shoes", "boots"),
    row("c", [("hats", "straw hat")], "hats", "sun hat"),
    row("d", [], "hats", "blue hat", attributes={"colour": "blue"}),
    row("e", [("hats", "cap")], "hats", "sun hat"),
)


def test_baselines():
    run = view(TRAIN)
    asking = [row("x", [("hats", "a straw hat")], "y", "z"), row("w", [], "hats", "q", attributes={"colour": "blue"})]
    assert last_title(run, asking) == [("hats", "a straw hat"), ("", "")]
    assert popular_title(run, asking) == [("hats", "sun hat"), ("shoes", "boots")]
    assert nearest_product(run, asking)[0] == ("hats", "sun hat")
    assert wishes(run, asking) == [("", ""), ("", "blue")]
    told = view(TRAIN, DesignConfig(domain=PRODUCTS, category_given=True))
    assert popular_title(told, asking)[1] == ("hats", "sun hat")
    assert nearest_product(told, asking)[1] == ("hats", "blue hat")
    assert wishes(told, asking)[1] == ("hats", "blue hats")
    assert last_title(run, asking[1:]) is wishes(run, asking[:1]) is None
    assert nearest_product(view(()), asking) is popular_title(view(()), asking) is None
    assert asked(asking[0]) == "a straw hat hats"


def test_catalogue_titles_count_once(logs):
    assert catalogue(view((), logs=logs)) == ("Product 0", "Product 1", "Product 2", "Product 3")
    found = catalogue(view(TRAIN, test=(row("x", [("hats", "cap")], "hats", "not known yet"),)))
    assert len(found) == len(set(found))
    assert "cap" in found
    assert "sun hat" in found
    assert "not known yet" not in found
