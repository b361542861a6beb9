"""Recall, queries per second, build time and size of the hnsw index against exact search, in one run.

    python tests/benchmarks/bench_index.py [--sizes 10000 100000] [--uniform 100000] [--threads 1] [--json FILE]

The vectors are made up: `clustered` ones resemble an encoder's (clusters of unequal size, 32 strong directions of
falling strength, a little noise), `uniform` ones are the worst case, where no vector has near neighbours. Queries are
drawn like the vectors and are not in the index.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest
from m6rec_plugin_retrieval.index import (
    ExactIndex,
    HeldOut,
    HnswIndex,
    HnswSettings,
    StoredIndex,
    load_index,
    save_index,
    tune_ef,
)
from numpy.typing import NDArray

K = 100
COLUMNS = ("vectors", "items", "M", "ef", "recall@100", "build_s", "MB", "exact_qps", "hnsw_qps", "ratio")


def uniform(count: int, width: int, seed: int) -> NDArray[np.float32]:
    """Unit vectors [count, width] in random directions."""
    found = np.random.default_rng(seed).standard_normal((count, width), dtype=np.float32)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def clustered(count: int, width: int, seed: int) -> NDArray[np.float32]:
    """Unit vectors [count, width] in clusters on a space of at most 32 dimensions, with noise."""
    random = np.random.default_rng(seed)
    rank, clusters = min(32, width), max(count // 500, 16)
    basis = (random.standard_normal((rank, width)) / np.sqrt(np.arange(1, rank + 1))[:, None]).astype(np.float32)
    centres = random.standard_normal((clusters, rank), dtype=np.float32)
    share = 1 / np.arange(1, clusters + 1) ** 0.7
    found = np.empty((count, width), dtype=np.float32)
    for begin in range(0, count, 65_536):
        size = min(65_536, count - begin)
        home = random.choice(clusters, size, p=share / share.sum())
        latent = centres[home] + 0.7 * random.standard_normal((size, rank), dtype=np.float32)
        block = latent @ basis + 0.05 * random.standard_normal((size, width), dtype=np.float32)
        found[begin : begin + size] = block / np.linalg.norm(block, axis=1, keepdims=True)
    return found


def measure(kind: str, count: int, width: int, queries: int, settings: HnswSettings) -> dict[str, object]:
    """Build, tune to recall@100 of .99, save, load again, and time both backends on the same queries."""
    drawn = (clustered if kind == "clustered" else uniform)(count + 2 * queries, width, 0)
    order = np.random.default_rng(1).permutation(len(drawn))[: 2 * queries]
    inside = np.ones(len(drawn), dtype=np.bool_)
    inside[order] = False
    vectors, tuning, timing = drawn[inside], drawn[order[:queries]], drawn[order[queries:]]
    ids = [f"item-{number}" for number in range(count)]
    exact = ExactIndex.of(ids, vectors)
    index = HnswIndex(width, settings)
    begin = time.perf_counter()
    index.add(ids, vectors)
    build = time.perf_counter() - begin
    tune_ef(index, HeldOut.of(exact, K, tuning), 0.99)
    with tempfile.TemporaryDirectory() as folder:
        manifest = save_index(Path(folder) / "index", StoredIndex(index, "benchmark"))
        loaded = load_index(Path(folder) / "index", "benchmark").index
    begin = time.perf_counter()
    truth = exact.search(timing, K)
    middle = time.perf_counter()
    found = loaded.search(timing, K)
    end = time.perf_counter()
    recall = float(np.mean([len(set(a.ids) & set(b.ids)) / K for a, b in zip(truth, found, strict=True)]))
    size = sum(file.bytes for file in manifest.files.values()) / 1e6
    rates = queries / (middle - begin), queries / (end - middle)
    setting = index.settings
    values = (kind, count, setting.m, setting.ef, round(recall, 4), round(build, 1), round(size, 1))
    return dict(
        zip(COLUMNS, (*values, round(rates[0], 1), round(rates[1], 1), round(rates[1] / rates[0], 1)), strict=True)
    )


@pytest.mark.benchmark
def test_bench_index() -> None:
    row = measure("clustered", 10_000, 128, 200, HnswSettings())
    print(row)
    assert row["recall@100"] > 0.95


def main() -> None:
    """Print a table, a row per kind and size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="*", default=[10_000, 100_000])
    parser.add_argument("--uniform", type=int, nargs="*", default=[100_000])
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--queries", type=int, default=500)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--links", type=int, default=16, help="hnswlib's M")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    settings = HnswSettings(m=given.links, threads=given.threads)
    print("| " + " | ".join(COLUMNS) + " |\n|" + "---|" * len(COLUMNS))
    rows = []
    for kind, count in [*(("clustered", n) for n in given.sizes), *(("uniform", n) for n in given.uniform)]:
        rows.append(measure(kind, count, given.width, given.queries, settings))
        print("| " + " | ".join(map(str, rows[-1].values())) + " |", flush=True)
    if given.json:
        given.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
