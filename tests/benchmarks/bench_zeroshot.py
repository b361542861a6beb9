"""Score 100 candidates of one user with a text of about 200 tokens: the shared trunk against the naive batch.

    python tests/benchmarks/bench_zeroshot.py [--backbone NAME] [--candidates 100] [--naive-batch 25] [--tiny]

Both use the same rows and weights (float32). The naive batch pads every row (context and candidate) to the longest and
computes the context again for each candidate, with transformers' own model. Each way runs in a process of its own, one
after the other, for its peak memory; the scores are compared.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from m6rec_core.backbone.hf import Backbone
from m6rec_core.backbone.load import load_backbone
from m6rec_core.config import TuningConfig
from m6rec_core.model import M6Rec, TunedTask
from m6rec_core.testing import build_tuned, encode_samples, one_batch, tiny_backbone
from m6rec_core.text.domains import MOVIES
from m6rec_core.tokens.batching import Encoded

BARE = TuningConfig(mode="adapter", adapter_layers=0, train_markers=False, init="informed")
WORDS = ("river", "night", "story", "king", "garden", "return", "city", "summer", "last", "secret", "house", "stranger")


def title(number: int) -> str:
    """A made-up title of four words and a number, so that no two candidates are the same text."""
    chance = random.Random(number)  # noqa: S311 - made-up data
    return f"{' '.join(chance.sample(WORDS, 4)).title()} {number}"


def question(backbone: Backbone, candidates: int, tokens: int = 200) -> tuple[TunedTask, Encoded]:
    """The task without anything tuned, and one sample whose context has about `tokens` tokens."""
    from m6rec_plugin_zeroshot import plugin
    from m6rec_plugin_zeroshot.sample import ChoiceSample
    from m6rec_plugin_zeroshot.settings import ZeroshotConfig

    tuned = build_tuned(plugin, ZeroshotConfig(domain=MOVIES, prompts="like-colon", normalise="token"), backbone, BARE)
    titles: list[str] = []
    while sum(len(backbone.tokenizer.encode(f" {t},")) for t in titles) < tokens:
        titles.append(title(len(titles)))
    choices = tuple({"id": str(n), "text": title(1000 + n)} for n in range(candidates))
    sample = ChoiceSample(id="user", context=tuple(titles), choices=choices)
    return tuned, encode_samples("zeroshot", tuned, [sample], backbone)[0]


def shared(backbone: Backbone, tuned: TunedTask, sample: Encoded) -> list[float]:
    """All candidates in one sequence: the context once, each candidate a branch."""
    model = M6Rec(backbone, {"zeroshot": tuned}).eval()
    return list(model.predict(one_batch([sample], backbone))["zeroshot"][0].scores)


@torch.no_grad()
def naive(backbone: Backbone, sample: Encoded, batch: int) -> list[float]:
    """Every row whole and padded, `batch` at a time, with transformers' own attention (sdpa) and the full logits
    of the candidate's tokens only."""
    scores: list[float] = []
    for start in range(0, len(sample.rows), batch):
        rows = sample.rows[start : start + batch]
        longest = max(len(row.ids) for row in rows)
        ids = torch.tensor([[*row.ids, *[0] * (longest - len(row.ids))] for row in rows])
        mask = torch.tensor([[1] * len(row.ids) + [0] * (longest - len(row.ids)) for row in rows])
        hidden = backbone.decoder.model(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state
        for line, row in zip(hidden, rows, strict=True):
            places = torch.tensor(row.scored)
            logits = backbone.decoder.lm_head(line[places - 1]).log_softmax(-1)
            scores.append(float(logits.gather(1, torch.tensor([row.ids[p] for p in row.scored])[:, None]).mean()))
    return scores


def measure(way: str, backbone_name: str, candidates: int, batch: int, repeats: int) -> dict[str, object]:
    """Seconds (best of `repeats`), peak memory in MiB above what the loaded backbone needs, and the scores."""
    tiny = backbone_name == "tiny"
    device = torch.device("cpu")
    backbone = tiny_backbone(dtype=torch.float32) if tiny else load_backbone(backbone_name, torch.float32, device)
    tuned, sample = question(backbone, candidates)
    if way == "naive":
        backbone.decoder.set_attn_implementation("sdpa")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    best, scores = float("inf"), []
    for _ in range(repeats):
        start = time.perf_counter()
        scores = shared(backbone, tuned, sample) if way == "shared" else naive(backbone, sample, batch)
        best = min(best, time.perf_counter() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    tokens = {
        "shared": one_batch([sample], backbone).tokens,
        "naive": len(sample.rows) * max(len(row.ids) for row in sample.rows),
    }
    return {"seconds": best, "mib": (peak - before) / 1024, "tokens": tokens[way], "scores": scores}


def compare(backbone: str, candidates: int, batch: int, repeats: int) -> tuple[dict[str, dict], float]:
    """Both ways, each in a process of its own, one after the other; and the largest difference of a score."""
    found = {}
    for way in ("shared", "naive"):
        command = [sys.executable, str(Path(__file__).resolve()), "--way", way, "--backbone", backbone]
        command += ["--candidates", str(candidates), "--naive-batch", str(batch), "--repeats", str(repeats)]
        found[way] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    pairs = zip(found["shared"]["scores"], found["naive"]["scores"], strict=True)
    return found, max(abs(left - right) for left, right in pairs)


def report(found: dict[str, dict], difference: float) -> str:
    """The lines that are printed."""
    lines = [
        f"{way:7} {line['seconds'] * 1000:9.0f} ms {line['mib']:8.0f} MiB {line['tokens']:7,} tokens"
        for way, line in found.items()
    ]
    ratio = found["naive"]["seconds"] / found["shared"]["seconds"]
    lines.append(f"naive / shared: {ratio:.1f} times the time; largest difference of a score {difference:.1e}")
    return "\n".join(lines)


def test_the_two_ways_agree_on_the_tiny_backbone():
    pytest.importorskip("m6rec_plugin_zeroshot")
    backbone = tiny_backbone(dtype=torch.float32)
    tuned, sample = question(backbone, 12)
    together = shared(backbone, tuned, sample)
    backbone.decoder.set_attn_implementation("sdpa")
    assert together == pytest.approx(naive(backbone, sample, 5), abs=1e-4)
    assert one_batch([sample], backbone).tokens < sum(len(row.ids) for row in sample.rows) / 2


@pytest.mark.benchmark
def test_shared_trunk_against_the_naive_batch():
    pytest.importorskip("m6rec_plugin_zeroshot")
    found, difference = compare("smollm2-135m", 100, 25, 2)
    print(report(found, difference))
    assert difference < 1e-3


def main() -> None:
    """Run both ways, or one for the process that asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="smollm2-135m")
    parser.add_argument("--candidates", type=int, default=100)
    parser.add_argument("--naive-batch", type=int, default=25)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--way", choices=["shared", "naive"])
    given = parser.parse_args()
    name = "tiny" if given.tiny else given.backbone
    if given.way:
        print(json.dumps(measure(given.way, name, given.candidates, given.naive_batch, given.repeats)))
        return
    print(report(*compare(name, given.candidates, given.naive_batch, given.repeats)))


if __name__ == "__main__":
    main()
