"""Late interaction against the full model: latency, candidates, reuse and tuning, as ratios in one run.

    python tests/benchmarks/bench_late.py                    # the real backbone and ml-100k, minutes
    python tests/benchmarks/bench_late.py --tiny             # a random backbone and made-up rows, seconds
    python tests/benchmarks/bench_late.py --requests 1000 --naive 100 --train 64 --json late.json

Equality is asserted: cached = one pass, ranked together = one by one, the losses of a tuning step with and without the
cache. See the README beside this file.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
import torch

from m6rec_core.assemble import assemble, encode
from m6rec_core.backbone.hf import Backbone
from m6rec_core.config import TrainingConfig, TuningConfig
from m6rec_core.model import M6Rec
from m6rec_core.registry import Task, load_task
from m6rec_core.runs.pipeline import packs_from_cache
from m6rec_core.runs.segments import segments_of
from m6rec_core.serving.catalogue import Candidate
from m6rec_core.serving.opening import Opened
from m6rec_core.serving.ranker import Ranker
from m6rec_core.tokens.batching import Batch, Pack, Tree, collate, plan_packs
from m6rec_core.tokens.tree import grow
from m6rec_core.training.accelerator import make_accelerator
from m6rec_core.training.optimizer import make_optimizer, trainable
from m6rec_core.training.plan import make_plan
from m6rec_core.training.step import Machine, run_step
from m6rec_core.tuning.pack import PackManifest, PackPlugin, pack_backbone
from m6rec_core.types import BehaviourSample, Event, Item, Sample

LATE = 3
CANDIDATES = 100


def opened(task: Task, settings: Any, backbone: Backbone, tuning: TuningConfig) -> Opened:
    """An untuned pack, opened."""
    assembled = assemble(task, settings, tuning, backbone, 0)
    manifest = PackManifest(
        task=task.name, hook_api=1, backbone=pack_backbone(backbone.spec), tuning=tuning, plan=assembled.plan,
        plugin=PackPlugin(distribution=task.distribution, version=task.version),
    )  # fmt: skip
    model = M6Rec(backbone, {task.name: assembled.tuned}).eval()
    return Opened(task, manifest, backbone, assembled, model, torch.device("cpu"))


Clock = Callable[[], float]


def median(work: Callable[[], object], times: int, clock: Clock) -> float:
    """Seconds of the middle of `times` calls."""
    taken = []
    for _ in range(times):
        began = clock()
        work()
        taken.append(clock() - began)
    return sorted(taken)[len(taken) // 2]


def naive(one: Opened, samples: Sequence[Sample]) -> Batch:
    """A batch as other software makes it: a padded sequence for each sample, nothing shared."""
    encoded = encode(one.task.name, one.assembled.tuned, samples, one.backbone).samples
    packs = [
        Pack((Tree(one.task.name, (sample,), grow(list(sample.rows), one.backbone.causal)),)) for sample in encoded
    ]
    return collate(packs, one.backbone.spec.vocabulary)


def latency(
    full: Opened, late: Opened, samples: list[BehaviourSample], naive_rows: int, clock: Clock
) -> dict[str, Any]:
    """One request, and 100 candidates, of a user with about 220 tokens."""
    user = min(samples, key=lambda s: abs(_tokens(late, s) - 220))
    one = [Candidate(item=user.candidate, statistics=user.statistics)]
    many = [Candidate(item=s.candidate, statistics=_own(s)) for s in samples[:CANDIDATES]]
    slow, quick = Ranker(full), Ranker(late)
    quick.warm_up(user, many)
    expected = quick.rank(user, many)
    late.model.segments = None
    for cached, plain in zip(expected, quick.rank(user, many), strict=True):
        assert abs(cached.score - plain.score) < 1e-4
    late.model.segments = quick.cache
    alone = {c.item.item_id: quick.rank(user, [c])[0].score for c in many[:5]}
    together = {r.item_id: r.score for r in expected}
    assert all(abs(together[item] - score) < 1e-4 for item, score in alone.items())
    rows = [user.model_copy(update={"id": str(n), "candidate": c.item}) for n, c in enumerate(many[:naive_rows])]
    with torch.no_grad():
        naive_seconds = median(lambda: full.model.predict(naive(full, rows)), 1, clock) * len(many) / len(rows)
    found = {
        "tokens": _tokens(late, user),
        "one request, full model": median(lambda: slow.rank(user, one), 3, clock),
        "one request, late interaction": median(lambda: quick.rank(user, one), 9, clock),
        f"{len(many)} candidates, naive batch": naive_seconds,
        f"{len(many)} candidates, shared trunk, full model": median(lambda: slow.rank(user, many), 1, clock),
        f"{len(many)} candidates, late interaction": median(lambda: quick.rank(user, many), 5, clock),
    }
    values = list(found.values())
    return {**found, "ratio of one request": values[1] / values[2], "ratio of 100 candidates": values[3] / values[5]}


def reuse(late: Opened, samples: list[BehaviourSample], requests: int, clock: Clock) -> dict[str, Any]:
    """Requests in the order of their time from an empty cache: each the next event of some user in the data."""
    ranker = Ranker(late)
    users = samples[:requests]
    ranker.warm_up(users[0], [Candidate(item=users[0].candidate, statistics=_own(users[0]))])
    taken = []
    for user in users:
        began = clock()
        ranker.rank(user, [Candidate(item=user.candidate, statistics=_own(user))])
        taken.append(1e3 * (clock() - began))
    assert ranker.cache is not None
    counts = ranker.cache.counts()
    return {
        "requests": len(users), "p50 ms": float(np.percentile(taken, 50)), "p99 ms": float(np.percentile(taken, 99)),
        "hit rate": counts.hit_rate, "bytes per segment": counts.bytes_per_segment, "segments": counts.segments,
    }  # fmt: skip


def tuning(late: Opened, samples: list[BehaviourSample], clock: Clock) -> dict[str, Any]:
    """An epoch of the training loop from the cache and in one pass, from the same start; encoding is timed apart.

    As in a run: steps of the default size, one pack to a forward in one pass, `packs_from_cache` from the cache, whose
    epoch is timed three times for the middle one: it is short.
    """
    model, name = late.model, late.task.name
    encoded = encode(name, late.assembled.tuned, samples, late.backbone).samples
    packs = plan_packs(encoded, 512, late.backbone.causal)
    cache = Ranker(late).cache
    assert cache is not None
    tuned = late.assembled.tuned.tuning
    began = clock()
    segments = list(segments_of(packs, late.backbone.spec.vocabulary))
    distinct = cache.warm(tuned, tuned.below(late.backbone.spec.layers), segments)
    encoding = clock() - began
    asked = TrainingConfig(precision="fp32")
    per_forward = packs_from_cache(late.device)
    quick = asked.model_copy(update={"packs_per_forward": per_forward})
    (cached, cached_seconds), *_ = sorted((epoch(late, packs, quick, clock) for _ in range(3)), key=lambda e: e[1])[1:]
    model.segments = None
    plain, plain_seconds = epoch(late, packs, asked, clock)
    torch.testing.assert_close(torch.tensor(cached), torch.tensor(plain), rtol=1e-3, atol=1e-3)
    return {
        "samples": len(samples), "tokens": sum(p.tokens for p in packs), "steps": len(cached),
        "distinct segments": distinct, "encoding once, s": encoding,
        "samples/s in one pass": len(samples) / plain_seconds,
        "samples/s from the cache": len(samples) / cached_seconds, "ratio of tuning": plain_seconds / cached_seconds,
    }  # fmt: skip


def epoch(late: Opened, packs: Sequence[Pack], config: TrainingConfig, clock: Clock) -> tuple[list[float], float]:
    """The losses of an epoch's steps and its seconds, update included; a first step before does not count. The
    parameters are put back."""
    model = late.model
    start = {key: value.clone() for key, value in model.state_dict().items()}
    with TemporaryDirectory() as folder:
        accelerator = make_accelerator(config, Path(folder), cpu=True)
    plan = make_plan(len(packs), config.packs_per_step, 1, None, config.seed)
    vocabulary = late.backbone.spec.vocabulary
    losses: list[float] = []
    for steps in (plan.epoch(0)[:1], plan.epoch(0)):
        parameters = trainable(model)
        machine = Machine(
            model, model, parameters, make_optimizer(parameters, config), packs, lambda p: collate(p, vocabulary),
            {late.task.name: 1.0}, config, plan, accelerator,
        )  # fmt: skip
        began = clock()
        losses = [run_step(machine, step).loss for step in steps]
        seconds = clock() - began
        model.load_state_dict(start)
    model.eval()
    return losses, seconds


def _tokens(late: Opened, sample: Sample) -> int:
    return len(encode(late.task.name, late.assembled.tuned, [sample], late.backbone).samples[0].rows[0].ids)


def _own(sample: BehaviourSample) -> dict[str, float]:
    """The statistics of the sample's item, without the user's."""
    return {name: value for name, value in sample.statistics.items() if name.startswith("item")}


def real() -> tuple[Backbone, Any, list[BehaviourSample]]:
    """SmolLM2-135M in float32 and the test rows of ml-100k in the order of their time."""
    from m6rec_plugin_ctr.sample import CtrSample
    from m6rec_plugin_ctr.settings import CtrConfig

    from m6rec_core.backbone.load import load_backbone
    from m6rec_core.logs.datasets import locate
    from m6rec_core.logs.reading import read_logs
    from m6rec_core.logs.samples import build_samples

    logs = read_logs(locate("ml-100k"))
    settings = CtrConfig(domain=logs.domain)
    table = build_samples(logs, settings.sampling, CtrSample, "label")
    rows = sorted(table.splits["test"].tolist(), key=lambda row: table.time[row])
    return load_backbone("smollm2-135m", torch.float32), settings, [table.sample(int(r)) for r in rows[:2000]]


def tiny() -> tuple[Backbone, Any, list[BehaviourSample]]:
    """A random backbone of six layers and made-up films."""
    from m6rec_plugin_ctr.sample import CtrSample
    from m6rec_plugin_ctr.settings import CtrConfig

    from m6rec_core.testing import tiny_backbone
    from m6rec_core.text.domains import load_domain

    def film(n: int) -> Item:
        return Item(item_id=f"i{n}", fields={"title": f"Film {n}", "year": str(1950 + n % 60)})

    samples: list[BehaviourSample] = []
    for n in range(40):
        history = tuple(
            Event(item=film((n // 8 * 7 + k) % 30), kind="rating", timestamp=float(k), liked=k % 2 == 0)
            for k in range(4 + n % 8)
        )
        samples.append(
            CtrSample(id=str(n), user_id=f"u{n // 8}", history=history, candidate=film(n % 30), timestamp=99.0,
                      label=n % 2 == 0, statistics={"item_rate": 0.5, "item_count": 9.0})
        )  # fmt: skip
    settings = CtrConfig(domain=load_domain("movies"), calibration=False)
    return tiny_backbone(layers=6, dtype=torch.float32), settings, samples


def measure(
    small: bool,
    requests: int,
    naive_rows: int,
    train: int,
    parts: Sequence[str],
    clock: Clock = time.perf_counter,
    more: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """All tables; `more`: settings of `tuning` for late interaction."""
    backbone, settings, samples = tiny() if small else real()
    task = load_task("ctr")
    common: dict[str, Any] = {"budget": 0.9, "prompts": 8, "adapter_layers": LATE, "init": "informed"}
    full = opened(task, settings, backbone, TuningConfig(**common))
    late = opened(task, settings, backbone, TuningConfig(**{**common, **(more or {})}, late_layers=LATE))
    found: dict[str, Any] = {}
    for name, work in {
        "latency": lambda: latency(full, late, samples, naive_rows, clock),
        "reuse": lambda: reuse(late, samples, requests, clock),
        "tuning": lambda: tuning(late, samples[:train], clock),
    }.items():
        if name in parts:
            found[name] = work()
            print(f"{name}: {json.dumps(found[name], indent=2)}", flush=True)
    return found


PARTS = ("latency", "reuse", "tuning")


@pytest.mark.benchmark
def test_late_interaction_on_the_real_backbone() -> None:
    assert measure(False, 200, 10, 48, PARTS)["latency"]["ratio of one request"] > 0


def test_the_benchmark_itself_on_a_tiny_backbone() -> None:
    found = measure(True, 20, 4, 16, PARTS)
    assert found["reuse"]["hit rate"] > 0
    assert found["tuning"]["distinct segments"] > 0


def main() -> None:
    """Print the tables; `--json` writes them too."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tiny", action="store_true", help="a random backbone and made-up rows")
    parser.add_argument("--requests", type=int, default=200, help="requests with realistic reuse")
    parser.add_argument("--naive", type=int, default=10, help="rows of the naive batch (its time is scaled to 100)")
    parser.add_argument("--train", type=int, default=48, help="samples of the tuning steps")
    parser.add_argument("--part", choices=PARTS, action="append", help="only these parts")
    parser.add_argument("--late-prompts", action="store_true", help="soft prompts enter above the lower layers")
    parser.add_argument("--summaries", type=int, default=0, help="summary tokens after each segment")
    parser.add_argument("--layers", type=int, default=0, help="layers that late interaction uses; 0: all")
    parser.add_argument("--cpu", action="store_true", help="count this process's CPU time, for a machine in use")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    found = measure(
        asked.tiny,
        asked.requests,
        asked.naive,
        asked.train,
        asked.part or PARTS,
        time.process_time if asked.cpu else time.perf_counter,
        {
            "late_prompts": "late" if asked.late_prompts else "input",
            "segment_summaries": asked.summaries,
            "student_layers": asked.layers,
        },
    )
    if asked.json:
        asked.json.write_text(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
