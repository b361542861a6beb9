"""QBQTC: titles of Chinese web pages and the queries of QQ Browser's users; a title is the need of its query."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from m6rec_core.errors import DataError
from m6rec_core.logs.jsonl import write_samples
from m6rec_core.logs.recipes import Recipe
from m6rec_core.logs.source_files import read_objects
from m6rec_core.text.template import clean
from m6rec_plugin_query_generation.sample import QuerySample

PARTS = {"train": 0.8, "valid": 0.1, "test": 0.1}
STEMS = ("train", "dev", "test_public")
SUFFIXES = (".json", ".jsonl", ".jsonl.gz")
RELEVANT = "2"
"""The label of titles that answer the query."""


def write_qbqtc(source: Path | None, target: Path) -> None:
    """Write the relevant pairs of the folder `source`; queries are drawn into parts by a fixed seed, each into one.

    The published files share queries, so they are read as one. Raises DataError naming file, line and field.
    """
    found = [] if source is None else _files(source)
    if not found:
        raise DataError(
            f"{source or 'qbqtc'}: there is none of {', '.join(f'{stem}.json' for stem in STEMS)}; they are the folder "
            "dataset of github.com/CLUEbenchmark/QBQTC"
        )
    of_query: dict[str, list[QuerySample]] = {}
    for path in found:
        for number, query, title in _pairs(path):
            sample = QuerySample(id=f"{path.name.partition('.')[0]}{number}", need=title, query=query)
            of_query.setdefault(query, []).append(sample)
    if not of_query:
        raise DataError(f"{source}: there is no pair with label {RELEVANT}")
    queries = list(of_query)
    order = np.random.default_rng(0).permutation(len(queries))
    bounds = np.floor(np.cumsum(list(PARTS.values())) * len(queries) + 1e-9).astype(int)
    for part, places in zip(PARTS, np.split(order, bounds[:-1]), strict=True):
        chosen = [sample for place in sorted(places) for sample in of_query[queries[int(place)]]]
        write_samples(target / f"{part}.jsonl", chosen)


def _files(source: Path) -> list[Path]:
    paths = [source / f"{stem}{suffix}" for stem in STEMS for suffix in SUFFIXES]
    return [path for path in paths if path.is_file()]


def _pairs(path: Path) -> Iterator[tuple[int, str, str]]:
    """Number, query and title of each pair that is relevant and says something."""
    for number, (place, row) in enumerate(read_objects(path), start=1):
        wrong = next((name for name in ("query", "title") if not isinstance(row.get(name), str)), None)
        if wrong is not None or "label" not in row:
            raise DataError(f"{place}: field {wrong or 'label'!r} is missing or not a text")
        query, title = clean(row["query"]), clean(row["title"])
        if str(row["label"]) == RELEVANT and query and title:
            yield number, query, title


QBQTC = Recipe(
    name="qbqtc",
    summary="titles of Chinese web pages and the queries they answer (label 2 of QBQTC)",
    terms="no licence stated (QQ Browser Query Title Corpus, CLUEbenchmark); research use",
    write=write_qbqtc,
    source="train.json, dev.json, test_public.json (any of them) of github.com/CLUEbenchmark/QBQTC, folder dataset",
)
