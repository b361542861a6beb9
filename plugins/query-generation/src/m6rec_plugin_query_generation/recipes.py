"""The data sets: a small example of our own, and the goals of WebShop (Yao et al. 2022) with the queries of people."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files
from pathlib import Path

import numpy as np

from m6rec_core.errors import DataError
from m6rec_core.logs.jsonl import write_samples
from m6rec_core.logs.recipes import Recipe
from m6rec_core.logs.source_files import parse, read_objects, read_text
from m6rec_core.metrics.text.novelty import normalised
from m6rec_core.text.template import clean
from m6rec_plugin_query_generation.sample import QuerySample

PARTS = {"train": 0.8, "valid": 0.1, "test": 0.1}
GOAL_FILES = ("goal_query_map.json", "goal_query.jsonl", "goal_query.jsonl.gz")


def write_examples(source: Path | None, target: Path) -> None:
    """Write the 60 shipped pairs: every fifth tests (12), every tenth validates (6), the rest trains (42)."""
    del source
    lines = files("m6rec_plugin_query_generation").joinpath("data/examples.jsonl").read_text(encoding="utf-8")
    rows = [json.loads(line) for line in lines.splitlines()]
    samples = [QuerySample(id=f"e{n}", need=row["need"], query=row["query"]) for n, row in enumerate(rows, start=1)]
    test, valid = samples[4::5], samples[3::10]
    train = [sample for sample in samples if sample not in test and sample not in valid]
    for part, found in {"train": train, "valid": valid, "test": test}.items():
        write_samples(target / f"{part}.jsonl", found)


def write_webshop(source: Path | None, target: Path) -> None:
    """Write the goals of the folder `source`, drawn into parts by a fixed seed; equal goals lie in one part.

    Training has a row for each query of a goal, valid and test the first one. Raises DataError naming file and row.
    """
    if source is None:
        raise DataError(f"data set 'webshop-goals' needs a folder with one of {', '.join(GOAL_FILES)}")
    groups: dict[str, list[tuple[int, str, list[str]]]] = {}
    for number, (goal, queries) in enumerate(_read_goals(source), start=1):
        groups.setdefault(normalised(goal), []).append((number, goal, queries))
    keys = list(groups)
    order = np.random.default_rng(0).permutation(len(keys))
    bounds = np.floor(np.cumsum(list(PARTS.values())) * len(keys) + 1e-9).astype(int)
    for part, places in zip(PARTS, np.split(order, bounds[:-1]), strict=True):
        rows = [row for place in sorted(places) for row in groups[keys[int(place)]]]
        write_samples(target / f"{part}.jsonl", _samples(rows, every=part == "train"))


def _samples(rows: Sequence[tuple[int, str, list[str]]], every: bool) -> Iterable[QuerySample]:
    for number, goal, queries in rows:
        for place, query in enumerate(queries if every else queries[:1], start=1):
            yield QuerySample(id=f"g{number}" if place == 1 else f"g{number}.{place}", need=goal, query=query)


def _read_goals(source: Path) -> list[tuple[str, list[str]]]:
    """Goals with their queries, on one line each, blank queries and doubles left out."""
    path = next((path for name in GOAL_FILES if (path := source / name).is_file()), None)
    if path is None:
        raise DataError(f"{source}: there is none of {', '.join(GOAL_FILES)}; they are WebShop's baseline_models/data")
    rows = _mapping(path) if path.suffix == ".json" else _lines(path)
    found = []
    for place, goal, queries in rows:
        kept = list(dict.fromkeys(clean(query) for query in queries if clean(query)))
        if not clean(goal) or not kept:
            raise DataError(f"{place}: the goal or all its queries are blank; leave it out")
        found.append((clean(goal), kept))
    if not found:
        raise DataError(f"{path}: there are no goals in it")
    return found


def _mapping(path: Path) -> list[tuple[str, str, list[str]]]:
    """WebShop's own form: an object of goal -> list of queries."""
    content = parse(f"{path}", read_text(path))
    if not isinstance(content, Mapping):
        raise DataError(f"{path}: is {type(content).__name__}, not an object of goals and their queries")
    return [_row(f"{path}, goal {n}", goal, queries) for n, (goal, queries) in enumerate(content.items(), start=1)]


def _lines(path: Path) -> list[tuple[str, str, list[str]]]:
    """One object {"goal": ..., "queries": [...]} a line."""
    rows = []
    for place, content in read_objects(path):
        if not {"goal", "queries"} <= content.keys():
            raise DataError(f"{place}: is not an object with 'goal' and 'queries'")
        rows.append(_row(place, content["goal"], content["queries"]))
    return rows


def _row(place: str, goal: object, queries: object) -> tuple[str, str, list[str]]:
    texts = [queries] if isinstance(queries, str) else queries
    if not isinstance(goal, str) or not isinstance(texts, list) or not all(isinstance(one, str) for one in texts):
        raise DataError(f"{place}: field 'queries' is not a list of texts")
    return place, goal, texts


EXAMPLES = Recipe(
    name="query-examples",
    summary="60 needs and queries, written for m6rec: enough to see the task run, too few to measure anything",
    terms="Apache-2.0",
    write=write_examples,
)
WEBSHOP = Recipe(
    name="webshop-goals",
    summary="1,506 shopping goals of WebShop with the search queries that people typed for them",
    terms="MIT (Princeton NLP; cite Yao et al. 2022, WebShop)",
    write=write_webshop,
    source=f"one of {', '.join(GOAL_FILES)} of WebShop (github.com/princeton-nlp/WebShop, baseline_models/data)",
)
