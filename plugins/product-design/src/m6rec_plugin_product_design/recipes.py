"""The data sets: a small example of our own, and product data that users bring."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files
from pathlib import Path

import numpy as np

from m6rec_core.errors import DataError
from m6rec_core.logs.jsonl import write_samples
from m6rec_core.logs.recipes import Recipe
from m6rec_core.metrics.text.novelty import normalised
from m6rec_core.text.template import clean
from m6rec_core.types import Event, Item
from m6rec_plugin_product_design.files import find, read_objects, read_table
from m6rec_plugin_product_design.sample import DesignSample

HISTORY = 10
"""Products of a history at most, as in the Amazon sequences."""
PARTS = {"train": 0.8, "valid": 0.1, "test": 0.1}
ATTRIBUTES = {"gender": "gender", "baseColour": "colour", "season": "season", "usage": "usage"}
"""Columns of fashion-products that are told, and their names in the text."""
MISSING = {"", "NA", "N/A"}

Named = Mapping[str, tuple[str, str]]
"""Item id -> category and title."""


def write_examples(source: Path | None, target: Path) -> None:
    """Write the shipped histories: every fifth tests, every tenth validates, the rest trains."""
    del source
    lines = files("m6rec_plugin_product_design").joinpath("data/examples.jsonl").read_text(encoding="utf-8")
    rows = [json.loads(line) for line in lines.splitlines()]
    samples = [_example(f"e{n}", row) for n, row in enumerate(rows, start=1)]
    test, valid = samples[4::5], samples[3::10]
    train = [sample for sample in samples if sample not in test and sample not in valid]
    for part, found in {"train": train, "valid": valid, "test": test}.items():
        write_samples(target / f"{part}.jsonl", found)


def write_industrial(source: Path | None, target: Path) -> None:
    """Write Amazon's Industrial and Scientific from items.jsonl, valid.csv, test.csv and, where it is there, train.csv.

    Without train.csv the training rows are rebuilt from the histories of the valid rows: each product of a user's
    longest history after those before it. So they lie before every valid and test row of the user.
    """
    folder = _folder(source, INDUSTRIAL)
    items: dict[str, tuple[str, str]] = {}
    for _, row in read_objects(find(folder, "items.jsonl"), ("item_id", "title")):
        if clean(row["title"]):  # what has no title cannot be told, nor designed
            items[row["item_id"]] = (clean(row.get("categories", "")), clean(row["title"]))
    parts = {part: list(_sequences(find(folder, f"{part}.csv"), items)) for part in ("valid", "test")}
    train = find(folder, "train.csv", needed=False)
    parts["train"] = list(_sequences(train, items)) if train else _rebuilt(parts["valid"])
    _write(parts, items, target)


def write_games(source: Path | None, target: Path) -> None:
    """Write Amazon's Video Games from items.tsv and sequences.tsv: of each user the held-out product tests, the one
    before it validates, the one before that trains. There are no categories."""
    folder = _folder(source, GAMES)
    items: dict[str, tuple[str, str]] = {}
    for _, row in read_table(find(folder, "items.tsv"), ("item_id", "title"), "\t"):
        if clean(row["title"]):
            items[row["item_id"]] = ("", clean(row["title"]))
    parts: dict[str, list[tuple[str, list[str]]]] = {part: [] for part in PARTS}
    for _, row in read_table(find(folder, "sequences.tsv"), ("user_id", "item_id_list", "item_id"), "\t"):
        whole = [one for one in (*row["item_id_list"].split(), row["item_id"]) if one in items]
        for back, part in enumerate(("test", "valid", "train")):
            if len(whole) - back >= 2:
                parts[part].append((row["user_id"], whole[: len(whole) - back]))
    _write(parts, items, target)


def write_fashion(source: Path | None, target: Path) -> None:
    """Write fashion-products from styles.csv: attributes to category (articleType) and title. Products are drawn into
    parts by a fixed seed, those with one title into one part; without a title they are left out."""
    folder = _folder(source, FASHION)
    columns = ("id", *ATTRIBUTES, "articleType", "productDisplayName")
    groups: dict[str, list[DesignSample]] = {}
    for _, row in read_table(find(folder, "styles.csv"), columns, ",", surplus=True):
        title = clean(row["productDisplayName"])
        told = {name: text for column, name in ATTRIBUTES.items() if (text := clean(row[column])) not in MISSING}
        if title not in MISSING and told:
            sample = DesignSample(id=row["id"], attributes=told, category=clean(row["articleType"]), title=title)
            groups.setdefault(normalised(title), []).append(sample)
    keys = list(groups)
    order = np.random.default_rng(0).permutation(len(keys))
    bounds = np.floor(np.cumsum(list(PARTS.values())) * len(keys) + 1e-9).astype(int)
    for part, places in zip(PARTS, np.split(order, bounds[:-1]), strict=True):
        rows = [sample for place in sorted(places) for sample in groups[keys[int(place)]]]
        write_samples(target / f"{part}.jsonl", rows)


def _example(name: str, row: Mapping[str, Sequence[Sequence[str]]]) -> DesignSample:
    events = [_event(str(n), (category, title), n) for n, (category, title) in enumerate(row["history"])]
    [[category, title]] = row["next"]
    return DesignSample(id=name, history=tuple(events), category=category, title=title)


def _event(item_id: str, texts: tuple[str, str], place: int) -> Event:
    """A purchase; the data give an order and no times, so the place in it stands for the time."""
    category, title = texts
    fields = {"title": title} | ({"category": category} if category else {})
    return Event(item=Item(item_id=item_id, fields=fields), kind="purchase", timestamp=float(place))


def _sequences(path: Path, items: Named) -> Iterator[tuple[str, list[str]]]:
    """User and item ids of each row, the product that followed last; items that no title is known of are left out."""
    for place, row in read_table(path, ("user_id", "item_id", "history_item_id"), ","):
        past = [one for one in row["history_item_id"].split() if one in items]
        if row["item_id"] not in items:
            raise DataError(f"{place}, field 'item_id': {row['item_id']!r} has no title in the items")
        if past:
            yield row["user_id"], [*past, row["item_id"]]


def _rebuilt(rows: Sequence[tuple[str, list[str]]]) -> list[tuple[str, list[str]]]:
    longest: dict[str, list[str]] = {}
    for user, sequence in rows:
        if len(sequence) > len(longest.get(user, [])):
            longest[user] = sequence
    # The last product is that of a valid row; what valid rows ask for must not be learnt.
    asked = {(user, sequence[-1]) for user, sequence in rows}
    return [
        (user, sequence[: stop + 1])
        for user, sequence in longest.items()
        for stop in range(1, len(sequence) - 1)
        if (user, sequence[stop]) not in asked
    ]


def _write(parts: Mapping[str, Sequence[tuple[str, list[str]]]], items: Named, target: Path) -> None:
    for part in PARTS:
        samples = []
        for number, (user, sequence) in enumerate(parts[part], start=1):
            past = sequence[:-1][-HISTORY:]
            category, title = items[sequence[-1]]
            events = tuple(_event(one, items[one], n) for n, one in enumerate(past))
            samples.append(DesignSample(id=f"{part}:{number}:{user}", history=events, category=category, title=title))
        write_samples(target / f"{part}.jsonl", samples)


def _folder(source: Path | None, recipe: Recipe) -> Path:
    if source is None:
        raise DataError(f"data set {recipe.name!r} needs a folder with {recipe.source}: give it with --from")
    return source


EXAMPLES = Recipe(
    name="design-examples",
    summary="50 histories of products with what followed, written for m6rec: to see the task run, not to measure",
    terms="Apache-2.0",
    write=write_examples,
)
INDUSTRIAL = Recipe(
    name="amazon-industrial",
    summary="Amazon Industrial and Scientific: the next product after up to 10, titles without categories",
    terms="none stated for the data; cite Ni et al. 2019 (UCSD Amazon Reviews 2018)",
    write=write_industrial,
    source="items.jsonl, valid.csv, test.csv and, where you have it, train.csv (each also .gz; of MiniOneRec)",
)
GAMES = Recipe(
    name="amazon-games-designs",
    summary="Amazon Video Games as product design: the next product after up to 10, titles without categories",
    terms="none stated for the data; cite Ni et al. 2019 (UCSD Amazon Reviews 2018)",
    write=write_games,
    source="items.tsv and sequences.tsv (each also .gz; LLMRank's Games-6k)",
)
FASHION = Recipe(
    name="fashion-products",
    summary="44,000 products of a fashion shop: gender, colour, season and usage to category and title",
    terms="none stated; Kaggle Fashion Product Images, P. Aggarwal",
    write=write_fashion,
    source="styles.csv (also .gz)",
)
