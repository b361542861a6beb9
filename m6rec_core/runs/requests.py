"""Requests as they come in practice, one row each in the order of their time: latency, reuse of segments, and the
effect of keeping their states in 8 bits.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from m6rec_core.assemble import encode
from m6rec_core.config import CacheConfig
from m6rec_core.late.cache import SegmentCache
from m6rec_core.late.opening import open_cache
from m6rec_core.metrics import METRICS, Bootstrap, Interval, MetricInput, bootstrap_intervals
from m6rec_core.model import M6Rec
from m6rec_core.runs.data import RunRows
from m6rec_core.runs.record import Prepared
from m6rec_core.runs.scored import score_test
from m6rec_core.serving.scoring import predict_packs
from m6rec_core.tokens.batching import plan_packs
from m6rec_core.types import Sample

if TYPE_CHECKING:
    from accelerate import Accelerator
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Asked:
    """How `requests` went, from an empty segment cache, text to score: milliseconds, and tokens of a row (mean).

    `hit_rate`, `bytes_per_segment` and `segments` are of the cache; None without late interaction.
    """

    requests: int
    tokens: float
    p50_ms: float
    p99_ms: float
    hit_rate: float | None = None
    bytes_per_segment: float | None = None
    segments: int | None = None


@dataclass(frozen=True, slots=True)
class EightBit:
    """The first metric on the test rows with its 95 % interval, and memory, when states are kept in 8 bits."""

    value: float
    low: float
    high: float
    bytes_per_segment: float


def can_cache(prepared: Prepared) -> bool:
    """Whether the model's lower layers read segments alone, so that a cache can answer for them."""
    tuning, spec = prepared.assembled.tuned.tuning, prepared.backbone.spec
    return tuning.below(spec.layers) > 0 and not prepared.backbone.embedding.requires_grad


def fresh_cache(prepared: Prepared, eight_bit: bool) -> SegmentCache:
    """An empty cache in memory, as large as the run's."""
    settings = CacheConfig(memory_mb=prepared.config.cache.memory_mb, eight_bit=eight_bit)
    return open_cache(settings, prepared.backbone)


@torch.no_grad()
def ask(prepared: Prepared, model: M6Rec, rows: RunRows, count: int) -> Asked:
    """Answer the first `count` test rows in the order of their time, each the next event of some user in the data.

    The model's cache is another one meanwhile. One request before the first is not counted: it warms up.
    """
    part = rows.table.splits["test"]
    order = part[np.argsort(rows.table.time[part], kind="stable")][:count]
    samples = [rows.table.sample(int(row)) for row in order]
    kept = model.segments
    cache = fresh_cache(prepared, prepared.config.cache.eight_bit) if can_cache(prepared) else None
    model.segments = fresh_cache(prepared, False) if cache is not None else None
    _answer(prepared, model, samples[0])
    model.segments = cache
    taken, tokens = [], 0
    try:
        for sample in samples:
            began = time.perf_counter()
            tokens += _answer(prepared, model, sample)
            taken.append(1e3 * (time.perf_counter() - began))
    finally:
        model.segments = kept
    p50, p99 = (float(np.percentile(taken, share)) for share in (50, 99))
    if cache is None:
        return Asked(len(samples), tokens / len(samples), p50, p99)
    counts = cache.counts()
    return Asked(
        len(samples), tokens / len(samples), p50, p99, counts.hit_rate, counts.bytes_per_segment, counts.segments
    )


def _answer(prepared: Prepared, model: M6Rec, sample: Sample) -> int:
    """Answer one request; return the tokens of its row."""
    name, backbone = prepared.task.name, prepared.backbone
    encoded = encode(name, prepared.assembled.tuned, [sample], backbone).samples
    packs = plan_packs(encoded, prepared.config.training.pack_tokens, backbone.causal)
    list(predict_packs(model, name, packs, backbone.embedding.device))
    return sum(pack.tokens for pack in packs)


def interval_of(prepared: Prepared, rows: RunRows, scores: NDArray[np.float64]) -> Interval:
    """The task's first metric of `scores` [n] on the test rows, with its 95 % interval."""
    test, metric = rows.rows["test"], METRICS[prepared.task.manifest.metrics[0]]
    answers = MetricInput(rows.table.label[test], scores, scores, rows.table.user[test])
    resamples = prepared.config.evaluation.bootstrap
    return bootstrap_intervals([metric], answers, plan=Bootstrap(resamples=resamples))[metric.name]


def in_eight_bits(
    prepared: Prepared, model: M6Rec, rows: RunRows, accelerator: Accelerator, shown: bool
) -> EightBit | None:
    """Score the test rows again from states in 8 bits; None without late interaction."""
    if not can_cache(prepared):
        return None
    kept, cache = model.segments, fresh_cache(prepared, True)
    model.segments = cache
    try:
        found = interval_of(prepared, rows, score_test(prepared, model, accelerator, shown)[:, 0])
    finally:
        model.segments = kept
    return EightBit(found.value, found.low, found.high, cache.counts().bytes_per_segment)
