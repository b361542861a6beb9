"""Samples per second of tuning: m6rec against transformers' Trainer with peft prompt tuning, as a ratio in one run.

    python tests/benchmarks/bench_tuning.py                  # the real backbone and ml-100k, minutes
    python tests/benchmarks/bench_tuning.py --tiny           # a random backbone and made-up rows, seconds
    pytest -m benchmark -s tests/benchmarks                  # the first, through pytest

See the README beside this file for what is equal on both sides and what is not.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import pytest
import torch

from m6rec_core.assemble import assemble, encode
from m6rec_core.backbone.hf import Backbone
from m6rec_core.config import Mode, SamplingConfig, TrainingConfig, TuningConfig
from m6rec_core.model import M6Rec
from m6rec_core.registry import load_task
from m6rec_core.text.domains import load_domain
from m6rec_core.tokens.batching import Encoded, Pack, Tree, collate, plan_packs
from m6rec_core.training.accelerator import make_accelerator
from m6rec_core.training.loop import train
from m6rec_core.training.plan import make_plan
from m6rec_core.types import Event, Item

PROMPTS = 8
UNSHARED = "m6rec (prompt, a tree per row)"


@dataclass(frozen=True, slots=True)
class Work:
    """What both sides do: the rows of each optimiser step, as token ids without prompts, and their labels."""

    backbone: Backbone
    folder: str
    model: M6Rec
    packs: list[Pack]
    steps: list[list[Encoded]]
    training: TrainingConfig


@dataclass(frozen=True, slots=True)
class Timing:
    """One side's result. `trained` counts parameters; `tokens` are those that went through the backbone.

    `counts`, `each`: samples and seconds of every optimiser step, the update included.
    """

    name: str
    samples: int
    steps: int
    tokens: int
    trained: int
    seconds: float
    counts: tuple[int, ...]
    each: tuple[float, ...]

    @property
    def rate(self) -> float:
        """Samples per second over all steps."""
        return sum(self.counts) / sum(self.each)

    @property
    def rates(self) -> list[float]:
        """Samples per second of each step."""
        return [count / seconds for count, seconds in zip(self.counts, self.each, strict=True)]


class StepClock:
    """Takes the time between steps: as the progress of m6rec's loop, or called by the other side."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def start(self, total: int = 0, done: int = 0) -> None:
        """The first step begins."""
        self.ends = [time.perf_counter()]

    def step(self, report: object = None) -> None:
        """A step has ended."""
        self.ends.append(time.perf_counter())

    def note(self, text: str) -> None:
        """Evaluations are no part of a step: the first comes before all steps, the last in the last one, both empty."""

    def finish(self) -> None:
        """Nothing is left open."""

    @property
    def each(self) -> tuple[float, ...]:
        """Seconds of every step."""
        return tuple(after - before for before, after in pairwise(self.ends))


def made_up_samples(sample_type: type[Any], users: int, events: int) -> list[Any]:
    """Rows with growing histories, as those of a user's stream, for the tiny mode."""
    samples = []
    for user in range(users):
        past = [
            Event(
                item=Item(item_id=str(n), fields={"title": f"Film {n}"}), kind="rating", timestamp=n, liked=n % 2 == 0
            )
            for n in range(events + 1)
        ]
        for n in range(1, events + 1):
            fields = {"user_id": str(user), "user": {"age": str(20 + user)}, "timestamp": float(n), "label": n % 2 == 0}
            samples.append(sample_type(id=f"{user}:{n}", history=tuple(past[:n]), candidate=past[n].item, **fields))
    return samples


def real_samples(sample_type: type[Any], sampling: SamplingConfig, rows: int) -> list[Any]:
    """Rows of ml-100k's training part: whole groups of users' streams, as a run takes them."""
    from m6rec_core.logs.datasets import locate
    from m6rec_core.logs.reading import read_logs
    from m6rec_core.logs.samples import build_samples

    table = build_samples(read_logs(locate("ml-100k")), sampling, sample_type)
    return [table.sample(int(index)) for index in table.choose("train", rows, seed=0)]


def prepare(backbone: Backbone, folder: str, tiny: bool, rows: int, mode: Mode) -> Work:
    """Encode the rows once and build the model that is ready to tune; none of this is timed on either side."""
    task = load_task("ctr")
    tuning = TuningConfig(mode=mode, prompts=PROMPTS, budget=0.5 if tiny else 0.01, train_markers=False)
    config = task.manifest.config(domain=load_domain("movies"), calibration=False, max_tokens=1024)
    kind = task.manifest.sample
    samples = made_up_samples(kind, 3, 6) if tiny else real_samples(kind, config.sampling, rows)
    tuned = assemble(task, config, tuning, backbone, seed=0).tuned
    training = TrainingConfig(evaluations=1, checkpoints=0, packs_per_step=2, pack_tokens=160 if tiny else 512)
    encoded = encode("ctr", tuned, samples, backbone).samples
    packs = plan_packs(encoded, training.pack_tokens, backbone.causal)
    order = make_plan(len(packs), training.packs_per_step, 1, None, training.seed).epoch(0)
    steps = [[s for p in step.packs for tree in packs[p].trees for s in tree.samples] for step in order]
    return Work(backbone, folder, M6Rec(backbone, {"ctr": tuned}), packs, steps, training)


def time_m6rec(work: Work, name: str) -> Timing:
    """Run m6rec's own training loop over the packs, from packs to the last step."""
    clock, began = StepClock(), time.perf_counter()
    run_loop(work, work.packs, work.training, clock)
    counts = tuple(len(step) for step in work.steps)
    return timing(work, name, work.packs, counts, clock.each, time.perf_counter() - began)


def time_unshared(work: Work, name: str) -> Timing:
    """The same loop on the same steps with a tree of its own for every row: what is left without the prefix forest."""
    each: list[float] = []
    every: list[Pack] = []
    began = time.perf_counter()
    for step in work.steps:
        packs, clock = alone(step, work), StepClock()
        run_loop(work, packs, work.training.model_copy(update={"packs_per_step": len(packs)}), clock)
        each += clock.each
        every += packs
    counts = tuple(len(step) for step in work.steps)
    return timing(work, name, every, counts, tuple(each), time.perf_counter() - began)


def alone(step: Sequence[Encoded], work: Work) -> list[Pack]:
    """Rows of similar length side by side within the token budget, none merged with another."""
    packs: list[list[Tree]] = [[]]
    room = work.training.pack_tokens
    for sample in sorted(step, key=lambda s: len(s.rows[0].ids)):
        (pack,) = plan_packs([sample], work.training.pack_tokens, work.backbone.causal)
        if packs[-1] and pack.tokens > room:
            packs.append([])
            room = work.training.pack_tokens
        packs[-1] += pack.trees
        room -= pack.tokens
    return [Pack(tuple(trees)) for trees in packs]


def run_loop(work: Work, packs: list[Pack], training: TrainingConfig, clock: StepClock) -> None:
    """Train over `packs`, with an evaluation that costs nothing."""
    with tempfile.TemporaryDirectory() as output:
        train(
            work.model, packs, lambda: {"objective": 0.0}, training,
            collate=partial(collate, vocabulary=work.backbone.spec.vocabulary),
            accelerator=make_accelerator(training, Path(output), cpu=True), output=Path(output), progress=clock,
        )  # fmt: skip


def timing(
    work: Work, name: str, packs: Sequence[Pack], counts: tuple[int, ...], each: tuple[float, ...], seconds: float
) -> Timing:
    """What a side of m6rec came to."""
    trained = sum(p.numel() for p in work.model.parameters() if p.requires_grad)
    return Timing(name, sum(counts), len(each), sum(p.tokens for p in packs), trained, seconds, counts, each)


def micro_batches(step: Sequence[Encoded], count: int) -> list[list[Encoded]]:
    """Cut a step into `count` batches of rows of similar length, as a length-grouping sampler would."""
    ordered = sorted(step, key=lambda s: len(s.rows[0].ids))
    bounds = [n * len(ordered) // count for n in range(count + 1)]
    return [ordered[a:b] for a, b in pairwise(bounds) if b > a]


def padded(batch: Sequence[Encoded]) -> dict[str, torch.Tensor]:
    """Left-padded ids, mask and labels: given embeddings, the classifier of transformers reads the last place."""
    texts = [[i for i in sample.rows[0].ids if i >= 0] for sample in batch]
    length = max(map(len, texts))
    return {
        "input_ids": torch.tensor([[0] * (length - len(t)) + t for t in texts]),
        "attention_mask": torch.tensor([[0] * (length - len(t)) + [1] * len(t) for t in texts]),
        "labels": torch.tensor([int(getattr(sample.sample, "label")) for sample in batch]),  # noqa: B009
    }


def peft_model(work: Work, attention: str) -> Any:
    """The same backbone as a sequence classifier with P virtual tokens: no logits over the vocabulary are computed."""
    from peft import PromptTuningConfig, TaskType, get_peft_model
    from transformers import AutoModelForSequenceClassification

    model = AutoModelForSequenceClassification.from_pretrained(
        work.folder, num_labels=2, dtype=work.backbone.dtype, attn_implementation=attention
    )
    model.config.pad_token_id = 0
    return get_peft_model(model, PromptTuningConfig(task_type=TaskType.SEQ_CLS, num_virtual_tokens=PROMPTS))


def time_trainer(work: Work, attention: str, rows_per_forward: int, limit: int | None) -> Timing:
    """Run transformers' Trainer over the same rows, grouped into the same optimiser steps (the first `limit` steps)."""
    from torch.utils.data import DataLoader
    from transformers import Trainer, TrainerCallback, TrainingArguments

    steps = work.steps[:limit]
    count = max(1, round(sum(map(len, steps)) / len(steps) / rows_per_forward))
    batches = [padded(batch) for step in steps for batch in micro_batches(step, count)]
    model = peft_model(work, attention)

    class InGivenOrder(Trainer):
        """The Trainer with the batches of the other side in the same order."""

        def get_train_dataloader(self) -> DataLoader[Any]:
            return DataLoader(batches, batch_size=None)  # type: ignore[arg-type]

    clock = StepClock()

    class Steps(TrainerCallback):  # type: ignore[misc]
        """Tells the clock of optimiser steps."""

        def on_train_begin(self, *_given: Any, **_named: Any) -> None:
            clock.start()

        def on_step_end(self, *_given: Any, **_named: Any) -> None:
            clock.step()

    with tempfile.TemporaryDirectory() as output:
        arguments = TrainingArguments(
            output_dir=output, num_train_epochs=1, gradient_accumulation_steps=count, learning_rate=work.training.lr,
            lr_scheduler_type="cosine", report_to=[], save_strategy="no", logging_strategy="no", disable_tqdm=True,
            use_cpu=True, dataloader_pin_memory=False, max_grad_norm=work.training.clip_norm,
        )  # fmt: skip
        trainer = InGivenOrder(model=model, args=arguments, train_dataset=batches, callbacks=[Steps()])
        began = time.perf_counter()
        state = trainer.train()
        seconds = time.perf_counter() - began
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    tokens = sum(b["input_ids"].numel() + len(b["labels"]) * PROMPTS for b in batches)
    name = f"Trainer + peft ({attention})"
    counts = tuple(map(len, steps))
    return Timing(name, sum(counts), int(state.global_step), tokens, trained, seconds, counts, clock.each)


def load(tiny: bool, scratch: str) -> tuple[Backbone, str]:
    """The backbone, and a folder from which transformers loads the same weights."""
    if tiny:
        from m6rec_core.testing.tiny import tiny_backbone

        backbone = tiny_backbone(dtype=torch.float32)
        backbone.decoder.save_pretrained(scratch)
        return backbone, scratch
    from m6rec_core.backbone.load import load_backbone, locate
    from m6rec_core.backbone.precision import resolve

    dtype = resolve("auto", torch.device("cpu"))  # without the right instructions bf16 is ten times slower
    return load_backbone("smollm2-135m", dtype), str(locate("smollm2-135m"))


def compare(tiny: bool, rows: int, rows_per_forward: int, limit: int | None) -> list[Timing]:
    """Time m6rec with prompt tuning (the same parameters), in its default mode, and without shared beginnings; and the
    Trainer twice."""
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as scratch:
        backbone, folder = load(tiny, scratch)
        modes: tuple[Mode, ...] = ("prompt", "option-adapter")
        timings = [time_m6rec(prepare(backbone, folder, tiny, rows, mode), f"m6rec ({mode})") for mode in modes]
        work = prepare(backbone, folder, tiny, rows, "prompt")
        timings.append(time_unshared(work, UNSHARED))
        work = prepare(backbone, folder, tiny, rows, "prompt")
        timings += [time_trainer(work, attention, rows_per_forward, limit) for attention in ("sdpa", "eager")]
    return timings


def report(timings: Sequence[Timing]) -> Mapping[str, float]:
    """Print a line per side, and the ratios of m6rec's sides to the faster Trainer with their spread over the steps."""
    for t in timings:
        print(
            f"{t.name:31} {t.samples:6} samples {t.steps:4} steps {t.tokens / t.samples:7.1f} tokens/sample "
            f"{t.trained:9,} trained {t.seconds:8.1f} s {t.rate:8.2f} samples/s"
        )
    best = max((t for t in timings if t.name.startswith("Trainer")), key=lambda t: t.rate)
    ours = [t for t in timings if t.name.startswith("m6rec")]
    ratios = {t.name: t.rate / best.rate for t in ours}
    print(f"ratio to {best.name}, over all steps; median and range of single steps:")
    for t in ours:
        steps = [a / b for a, b in zip(t.rates, best.rates, strict=False)]
        print(f"  {t.name:31} {ratios[t.name]:6.2f}   {median(steps):6.2f} [{min(steps):.2f}, {max(steps):.2f}]")
    shared, whole = ratios["m6rec (prompt)"] / ratios[UNSHARED], ratios["m6rec (prompt)"]
    part = f", {math.log(shared) / math.log(whole):.0%} of it on a log scale" if whole > 1 else ""
    print(f"m6rec (prompt) is {whole:.2f} times as fast; shared beginnings make {shared:.2f} of that{part}")
    return ratios


def check_equal_work(timings: Sequence[Timing]) -> None:
    """Both sides saw the same rows in the same number of steps, and prompt tuning trains the same but for a bias."""
    prompt, _, unshared, *trainers = timings
    assert (unshared.samples, unshared.steps, unshared.trained) == (prompt.samples, prompt.steps, prompt.trained)
    assert unshared.counts == prompt.counts
    for trainer in trainers:
        assert (trainer.samples, trainer.steps) == (prompt.samples, prompt.steps)
        assert abs(trainer.trained - prompt.trained) <= 2


def test_both_sides_do_the_same_work_on_a_tiny_backbone(capsys: pytest.CaptureFixture[str]) -> None:
    """The smoke mode: no speed is asserted, on rows this small it would mean nothing."""
    timings = compare(tiny=True, rows=0, rows_per_forward=4, limit=None)
    check_equal_work(timings)
    assert timings[0].samples == 18
    assert all(len(t.each) == t.steps >= 2 for t in timings)
    assert timings[0].tokens < timings[2].tokens, "shared beginnings are computed once"
    assert timings[2].tokens <= timings[3].tokens, "a tree per row has no padding, the Trainer's batches have"
    report(timings)
    printed = capsys.readouterr().out
    assert "ratio to Trainer" in printed
    assert "shared beginnings make" in printed


@pytest.mark.benchmark
def test_ratio_on_the_real_backbone() -> None:
    """Printed with -s; asserted are the equal work and that the ratio is finite."""
    timings = compare(tiny=False, rows=192, rows_per_forward=16, limit=None)
    check_equal_work(timings)
    assert all(ratio > 0 for ratio in report(timings).values())


def main(arguments: Sequence[str]) -> None:
    """Print the comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tiny", action="store_true", help="a random backbone and made-up rows")
    parser.add_argument("--rows", type=int, default=192, help="training rows")
    parser.add_argument("--rows-per-forward", type=int, default=16, help="the Trainer's micro-batch")
    parser.add_argument("--trainer-steps", type=int, help="time fewer steps of the Trainer, which is slow")
    parser.add_argument("--json", type=Path, help="also write the timings to a file")
    options = parser.parse_args(arguments)
    timings = compare(options.tiny, options.rows, options.rows_per_forward, options.trainer_steps)
    ratios = report(timings)
    if options.json:
        options.json.write_text(json.dumps({"timings": [asdict(t) for t in timings], "ratios": ratios}, indent=2))


if __name__ == "__main__":
    main(sys.argv[1:])
