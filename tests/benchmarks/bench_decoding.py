"""Seconds of writing with and without the cache, and with and without a trie of 10^5 titles, in one run.

    python tests/benchmarks/bench_decoding.py [--backbone NAME] [--prompt 256] [--new 64] [--rows 1]

Only the equality of the texts is asserted; the ratios are printed.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from types import ModuleType
from typing import TypeVar

import numpy as np
import torch
from torch import nn

from m6rec_core.backbone.hf import Backbone
from m6rec_core.backbone.load import load_backbone
from m6rec_core.config import DecodingConfig, TaskConfig
from m6rec_core.decoding.trie import TokenTrie, build_trie
from m6rec_core.decoding.writing import write_rows, writer
from m6rec_core.hookspecs import HOOK_API, hookimpl
from m6rec_core.model import M6Rec
from m6rec_core.registry import Task, task_from_module
from m6rec_core.testing import build_tuned, tiny_backbone
from m6rec_core.testing.building import KIT_TUNING
from m6rec_core.testing.recomputing import RecomputedStates
from m6rec_core.types import Prediction, Region, Sample, Segment, Serialized, TaskManifest, TextRow

T = TypeVar("T")
WORDS = ("the", "of", "night", "man", "lost", "city", "red", "dark", "first", "love", "star", "war", "home", "river")


def titles(count: int, tokens: int, tokenizer_size: int) -> list[list[int]]:
    """Token ids of `count` made-up titles of `tokens` tokens each, so that both sides write equally many."""
    generator = np.random.default_rng(0)
    table = generator.integers(tokenizer_size // 8, tokenizer_size, (count * 2, tokens))
    table[:, 0] = table[:, 0] % 997 + tokenizer_size // 8  # titles share their beginnings, as real ones do
    return [list(map(int, row)) for row in np.unique(table, axis=0)[:count]]


def timed(work: Callable[[], T], repeats: int = 3) -> tuple[T, float]:
    """The answer, and the best of `repeats` in seconds."""
    best = float("inf")
    for _ in range(repeats):
        start = time.perf_counter()
        found = work()
        best = min(best, time.perf_counter() - start)
    return found, best


def writing_task() -> Task:
    """A task that does nothing, whose tuned parts are those of the default mode."""
    module = ModuleType("bench_writing")
    hooks: dict[str, Callable[..., object]] = {
        "serialize_sample": lambda sample, config: Serialized(()),
        "build_head": lambda config, backbone: nn.Linear(backbone.hidden, 1),
        "compute_loss": lambda head, view: view.hidden[:, 0],
        "decode": lambda head, view, generate: [],
    }
    module.MANIFEST = TaskManifest(  # type: ignore[attr-defined]
        task="bench-writing", summary="nothing", hook_api=(HOOK_API, HOOK_API), sample=Sample, prediction=Prediction,
        config=TaskConfig, label_field="", score_field="",
    )  # fmt: skip
    for name, hook in hooks.items():
        hook.__name__ = name
        setattr(module, name, hookimpl(hook))
    return task_from_module(module)


def model_of(backbone: Backbone) -> M6Rec:
    """One tuned instance; the budget is the kit's, so that every layer has an adapter."""
    config = TaskConfig(instruction="Write a title that the user likes.", max_tokens=1024)
    return M6Rec(backbone, {"writing": build_tuned(writing_task(), config, backbone, KIT_TUNING)}, writer).eval()


def row_of(backbone: Backbone, tokens: int, number: int) -> TextRow:
    """A row of `tokens` text tokens without markers."""
    text = " ".join(WORDS[(i * 7 + number) % len(WORDS)] for i in range(tokens * 2))
    while len(backbone.tokenizer.encode(text)) > tokens:
        text = text.rsplit(" ", 1)[0]
    return TextRow((Segment(text, Region.BIDIRECTIONAL),), markers=False)


def bench_cache(model: M6Rec, rows: list[TextRow], new: int) -> tuple[float, float]:
    """Seconds without and with the cache for the same texts."""
    config = DecodingConfig(max_new_tokens=new, min_new_tokens=new)
    pairs = [("writing", row) for row in rows]
    write_rows(model, pairs[:1], DecodingConfig(max_new_tokens=2))  # first calls set things up
    cached, fast = timed(lambda: write_rows(model, pairs, config))
    anew, slow = timed(lambda: write_rows(model, pairs, config, make_states=RecomputedStates), repeats=1)
    assert [[w.text for w in row] for row in cached] == [[w.text for w in row] for row in anew]
    return slow, fast


def bench_trie(model: M6Rec, rows: list[TextRow], tokens: int, count: int = 100_000) -> tuple[float, float, float, int]:
    """Seconds of free writing, of constrained writing of as many tokens, of building the trie; and its size."""
    ids = titles(count, tokens, 300 if model.backbone.spec.vocabulary < 400 else 40_000)
    start = time.perf_counter()
    trie: TokenTrie = build_trie([f"title {i}" for i in range(len(ids))], ids)
    built = time.perf_counter() - start
    config = DecodingConfig(max_new_tokens=tokens, min_new_tokens=tokens)
    pairs = [("writing", row) for row in rows]
    free, plain = timed(lambda: write_rows(model, pairs, config), repeats=5)
    bound, constrained = timed(lambda: write_rows(model, pairs, config, trie), repeats=5)
    assert all(w.tokens == tokens for row in (*free, *bound) for w in row)
    assert all(w.text.startswith("title ") for row in bound for w in row)
    return plain, constrained, built, len(trie.text)


def main() -> None:
    """Print both ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backbone")
    parser.add_argument("--prompt", type=int, default=256)
    parser.add_argument("--new", type=int, default=64)
    parser.add_argument("--rows", type=int, default=1)
    options = parser.parse_args()
    backbone = (
        load_backbone(options.backbone, torch.float32) if options.backbone else tiny_backbone(dtype=torch.float32)
    )
    model = model_of(backbone)
    rows = [row_of(backbone, options.prompt, i) for i in range(options.rows)]
    slow, fast = bench_cache(model, rows, options.new)
    print(f"{backbone.spec.name}, float32, {torch.get_num_threads()} threads, {options.rows} rows", flush=True)
    print(
        f"{options.new} new tokens after {options.prompt}: anew {slow:.2f} s, cached {fast:.2f} s, {slow / fast:.1f}x"
    )
    plain, bound, built, nodes = bench_trie(model, rows, 12)
    print(f"12 tokens: free {plain:.3f} s, of 100,000 titles {bound:.3f} s, {100 * (bound / plain - 1):+.1f} %")
    print(f"trie of {nodes:,} nodes built in {built:.2f} s")


def test_cached_and_constrained_texts_are_equal_at_tiny_sizes() -> None:
    model = model_of(tiny_backbone(dtype=torch.float32))
    rows = [row_of(model.backbone, 20, i) for i in range(2)]
    assert min(bench_cache(model, rows, 6)) > 0
    assert min(bench_trie(model, rows, 5, 2000)) > 0


if __name__ == "__main__":
    main()
