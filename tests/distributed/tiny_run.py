"""Two instances of a small task on the tiny backbone in float64, trained through the real loop: one rank of a run.

With --pairs the second one is a task of batch scope: pairs of two rows with in-batch negatives. With --late the upper
of the two layers alone sees whole rows, and what the lower one says of text comes from a segment cache.
"""

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

from m6rec_core.config import TaskConfig, TrainingConfig, TuningConfig
from m6rec_core.heads.options import OptionClassifier
from m6rec_core.heads.projection import ContrastiveProjection
from m6rec_core.late.cache import SegmentCache
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
from m6rec_core.types import LossScope, Region, Sample, Segment, TaskView, TextRow

INSTANCES = ("ctr-a", "ctr-b")
WORDS = ("liked a movie", "clicked boots", "shoes", "The Matrix", "a user", "disliked the product named hiking")


class Labelled(Sample):
    """A sample with its answer."""

    label: int


def compute_loss(head: nn.Module, view: TaskView) -> Tensor:
    """Cross-entropy over the soft options, per sample."""
    labels = torch.tensor([cast(Labelled, sample).label for sample in view.samples])
    return nn.functional.cross_entropy(head(view.hidden, view.options), labels, reduction="none")


class PairHead(nn.Module):
    """Two projections, a direction in which scored tokens are read, and the soft options."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        self.projection = ContrastiveProjection(hidden, 8, 0.3)
        self.direction = nn.Parameter(torch.randn(hidden, generator=generator))
        for parameter in self.projection.parameters():
            parameter.data = 0.2 * torch.randn(parameter.shape, generator=generator)


def pair_loss(head: nn.Module, view: TaskView) -> Tensor:
    """In-batch negatives over the samples' two rows; a term of scored tokens and one of soft options."""
    head = cast(PairHead, head)
    count = len(view.samples)
    assert view.sample_of_row.tolist() == [i for i in range(count) for _ in range(2)]
    assert view.options is not None
    ids = torch.tensor([cast(Labelled, sample).label + 2 * (int(sample.id) % 3) for sample in view.samples])
    loss = head.projection(view.hidden[0::2], view.hidden[1::2], ids)
    scored = torch.tanh(view.scored.hidden @ head.direction) * (1.0 + view.scored.ids % 3)
    loss = loss.index_add(0, view.sample_of_row[view.scored.row], 0.1 * scored)
    return loss + 0.05 * (view.hidden[1::2] @ view.options.T).square().mean(1)


def build_model(vocabulary_seed: int = 0, pairs: bool = False, late: bool = False) -> M6Rec:
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
            TuningConfig(late_layers=1, segment_embeddings="none") if late else None,
        ).double()
        paired = pairs and name == INSTANCES[1]
        scope = SimpleNamespace(loss_scope=LossScope.BATCH if paired else LossScope.ROW)
        task = cast(Task, SimpleNamespace(compute_loss=pair_loss if paired else compute_loss, manifest=scope))
        head = PairHead(backbone.spec.hidden) if paired else OptionClassifier(backbone.spec.hidden, 2)
        tasks[name] = TunedTask(task, TaskConfig(), tuning, head.double())
    model = M6Rec(backbone, tasks)
    model.segments = SegmentCache(backbone, 1 << 20) if late else None
    return model


def encode(model: M6Rec, count: int, shift: int, pairs: bool = False) -> list[Encoded]:
    """`count` samples in turn of both instances, of different lengths, without markers in their text."""
    encoder = RowEncoder(model.backbone.tokenizer, 4, 256)
    encoded = []
    for index in range(count):
        words = [WORDS[(index * 5 + shift + k * 3) % len(WORDS)] for k in range(1 + (index + shift) % 4)]
        segments = [Segment(word, Region.BIDIRECTIONAL) for word in words]
        segments.append(Segment(f" item {index + shift}:", Region.AUTOREGRESSIVE))
        row = encoder(TextRow(tuple(segments), markers=False))
        sample = Labelled(id=str(index), label=int((index + shift) % 3 == 0))
        rows = [row]
        if pairs and index % 2:
            answer = Segment(f"{words[0]} {index % 4}", Region.AUTOREGRESSIVE, scored=True)
            rows.append(encoder(TextRow((answer,), markers=False)))
        encoded.append(Encoded(INSTANCES[index % 2], index, sample, tuple(rows)))
    return encoded


def main() -> None:
    """Run from the command line and write what came out to `output`/result.json."""
    parser = argparse.ArgumentParser()
    parser.add_argument("output", type=Path)
    parser.add_argument("--config", type=json.loads, default={})
    parser.add_argument("--ranks", type=int, default=1)
    parser.add_argument("--pairs", action="store_true")
    parser.add_argument("--late", action="store_true")
    options = parser.parse_args()
    config = TrainingConfig(**options.config)
    accelerator = make_accelerator(config, options.output, cpu=True)
    if accelerator.num_processes != options.ranks:
        raise SystemExit(f"{accelerator.num_processes} processes instead of {options.ranks}")
    model = build_model(pairs=options.pairs, late=options.late)
    together = partial(collate, vocabulary=model.backbone.spec.vocabulary)
    valid = encode(model, 12, 100, options.pairs)
    # What a task of batch scope loses depends on its batch, so its valid rows stay together.
    valid_packs = plan_packs(valid, 1000 if options.pairs else 60)
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
        plan_packs(encode(model, 40, 0, options.pairs), 60),
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
