"""Two instances of a small task on the tiny backbone in float64, trained through the real loop: one rank of a run."""

from __future__ import annotations

import argparse
import json
import os
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import torch
from torch import Tensor, nn

from m6rec_core.config import TaskConfig, TrainingConfig
from m6rec_core.heads.options import OptionClassifier
from m6rec_core.model import M6Rec, TunedTask
from m6rec_core.registry import Task
from m6rec_core.testing.tiny import tiny_backbone
from m6rec_core.tokens.batching import Encoded, Pack, collate, plan_packs
from m6rec_core.tokens.encode import RowEncoder
from m6rec_core.training.accelerator import make_accelerator
from m6rec_core.training.gather import gather_rows
from m6rec_core.training.loop import train
from m6rec_core.tuning.adapters import FfnAdapters
from m6rec_core.tuning.soft import MarkerEmbeddings, SoftPrompts
from m6rec_core.tuning.task import TaskTuning
from m6rec_core.types import Region, Sample, Segment, TaskView, TextRow

INSTANCES = ("ctr-a", "ctr-b")
WORDS = ("liked a movie", "clicked boots", "shoes", "The Matrix", "a user", "disliked the product named hiking")


class Labelled(Sample):
    """A sample with its answer."""

    label: int


def compute_loss(head: nn.Module, view: TaskView) -> Tensor:
    """Cross-entropy over the soft options, per sample."""
    labels = torch.tensor([cast(Labelled, sample).label for sample in view.samples])
    return nn.functional.cross_entropy(head(view.hidden, view.options), labels, reduction="none")


def build_model(vocabulary_seed: int = 0) -> M6Rec:
    """Two tuned instances over one frozen backbone; untouched markers stay without a gradient of their own."""
    backbone = tiny_backbone(layers=2)
    generator = torch.Generator().manual_seed(vocabulary_seed)
    tasks = {}
    for name in INSTANCES:
        start = torch.randn(5, backbone.spec.hidden, generator=generator)
        tuning = TaskTuning(
            SoftPrompts(0.2 * start[:4], 2),
            MarkerEmbeddings(0.2 * start, True),
            FfnAdapters(backbone.spec.hidden, 4, 1, 2, generator),
        ).double()
        task = cast(Task, SimpleNamespace(compute_loss=compute_loss))
        tasks[name] = TunedTask(task, TaskConfig(), tuning, OptionClassifier(backbone.spec.hidden, 2).double())
    return M6Rec(backbone, tasks)


def encode(model: M6Rec, count: int, shift: int) -> list[Encoded]:
    """`count` samples in turn of both instances, of different lengths, without markers in their text."""
    encoder = RowEncoder(model.backbone.tokenizer, 4, 256)
    encoded = []
    for index in range(count):
        words = [WORDS[(index * 5 + shift + k * 3) % len(WORDS)] for k in range(1 + (index + shift) % 4)]
        segments = [Segment(word, Region.BIDIRECTIONAL) for word in words]
        segments.append(Segment(f" item {index + shift}:", Region.AUTOREGRESSIVE))
        row = encoder(TextRow(tuple(segments), markers=False))
        sample = Labelled(id=str(index), label=int((index + shift) % 3 == 0))
        encoded.append(Encoded(INSTANCES[index % 2], index, sample, (row,)))
    return encoded


def main() -> None:
    """Run from the command line and write what came out to `output`/result.json."""
    parser = argparse.ArgumentParser()
    parser.add_argument("output", type=Path)
    parser.add_argument("--config", type=json.loads, default={})
    parser.add_argument("--ranks", type=int, default=1)
    options = parser.parse_args()
    config = TrainingConfig(**options.config)
    accelerator = make_accelerator(config, options.output, cpu=True)
    if accelerator.num_processes != options.ranks:
        raise SystemExit(f"{accelerator.num_processes} processes instead of {options.ranks}")
    model = build_model()
    together = partial(collate, vocabulary=model.backbone.spec.vocabulary)
    valid = encode(model, 12, shift=100)
    valid_packs = plan_packs(valid, 60)
    counted: list[int] = []

    def evaluate() -> dict[str, float]:
        mine: list[Pack] = valid_packs[accelerator.process_index :: accelerator.num_processes]
        places, losses = [torch.zeros(0, dtype=torch.int64)], [torch.zeros(0, dtype=torch.float64)]
        for pack in mine:
            batch = together([pack])
            for name, rows in model(batch).items():
                places.append(torch.tensor(batch.tasks[name].indices))
                losses.append(rows)
        gathered = gather_rows(accelerator, torch.cat(places), torch.cat(losses), len(valid))
        counted.append(len(gathered))
        return {"objective": -float(gathered.mean())}

    result = train(
        model,
        plan_packs(encode(model, 40, shift=0), 60),
        evaluate,
        config,
        collate=together,
        accelerator=accelerator,
        output=options.output,
        tasks=dict.fromkeys(INSTANCES, 1.0),
    )
    if int(os.environ.get("RANK", "0")) == 0:
        answer = {
            "best": result.best.step,
            "samples": result.samples,
            "evaluations": [[e.step, dict(e.metrics)] for e in result.evaluations],
            "rows": counted[-1],
            "parameters": {n: p.flatten().tolist() for n, p in model.named_parameters() if p.requires_grad},
        }
        (options.output / "result.json").write_text(json.dumps(answer))
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()
