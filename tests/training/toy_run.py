"""A toy of two tasks in float64, trained through the real loop; run as a script it is one rank of a run."""

from __future__ import annotations

import argparse
import json
import os
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from m6rec_core.config import TrainingConfig
from m6rec_core.training.accelerator import make_accelerator
from m6rec_core.training.gather import gather_rows
from m6rec_core.training.loop import TrainResult, train
from m6rec_core.training.progress import SilentProgress, StepReport

WIDTH = 4
TASKS = {"first": 1.0, "second": 0.5}


@dataclass(frozen=True)
class ToyPack:
    """Samples of one task: features [n, 4], labels [n], their places in the data."""

    task: str
    features: Tensor
    labels: Tensor
    places: Tensor
    tokens: int

    @property
    def samples(self) -> int:
        return len(self.labels)

    @property
    def rows(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class ToyBatch:
    """Packs of any tasks."""

    tasks: Mapping[str, tuple[Tensor, Tensor]]
    places: Mapping[str, Tensor]

    @property
    def samples(self) -> int:
        return sum(len(labels) for _, labels in self.tasks.values())

    def to(self, device: torch.device, /) -> ToyBatch:
        return ToyBatch({t: (x.to(device), y.to(device)) for t, (x, y) in self.tasks.items()}, self.places)


def collate(packs: Sequence[ToyPack]) -> ToyBatch:
    """Put the packs of each task together."""
    names = sorted({pack.task for pack in packs})
    of = {name: [pack for pack in packs if pack.task == name] for name in names}
    return ToyBatch(
        {n: (torch.cat([p.features for p in of[n]]), torch.cat([p.labels for p in of[n]])) for n in names},
        {n: torch.cat([p.places for p in of[n]]) for n in names},
    )


class Head(nn.Module):
    """What is tuned for one task: a soft prompt that shifts the features, a matrix, a bias; and dropout."""

    def __init__(self, generator: torch.Generator, dropout: float) -> None:
        super().__init__()
        self.prompts = nn.Parameter(0.1 * torch.randn(1, WIDTH, dtype=torch.float64, generator=generator))
        self.w1 = nn.Parameter(0.3 * torch.randn(WIDTH, 1, dtype=torch.float64, generator=generator))
        self.b1 = nn.Parameter(torch.zeros(1, dtype=torch.float64))
        self.dropout = nn.Dropout(dropout)


class Toy(nn.Module):
    """A frozen matrix under one head per task."""

    def __init__(self, seed: int = 0, dropout: float = 0.0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        frozen = torch.randn(WIDTH, WIDTH, dtype=torch.float64, generator=generator)
        self.frozen = nn.Parameter(frozen, requires_grad=False)
        self.heads = nn.ModuleDict({name: Head(generator, dropout) for name in TASKS})

    def scores(self, task: str, features: Tensor) -> Tensor:
        head = cast(Head, self.heads[task])
        hidden = torch.tanh((features + head.prompts) @ self.frozen)
        scores: Tensor = head.dropout(hidden) @ head.w1 + head.b1
        return scores.squeeze(1)

    def forward(self, batch: ToyBatch) -> dict[str, Tensor]:
        return {
            task: nn.functional.binary_cross_entropy_with_logits(self.scores(task, x), y, reduction="none")
            for task, (x, y) in batch.tasks.items()
        }


def make_packs(count: int, seed: int = 1) -> list[ToyPack]:
    """Packs of 1 to 5 samples; every third is of the second task, so some forwards lack a task."""
    generator = torch.Generator().manual_seed(seed)
    packs, place = [], 0
    for number in range(count):
        size = 1 + number % 5
        features = torch.randn(size, WIDTH, dtype=torch.float64, generator=generator)
        labels = (features.sum(1) + 0.5 * torch.randn(size, dtype=torch.float64, generator=generator) > 0).double()
        task = "second" if number % 3 == 2 else "first"
        packs.append(ToyPack(task, features, labels, torch.arange(place, place + size), 10 + 7 * number % 23))
        place += size
    return packs


class KillAt(SilentProgress):
    """Ends the process without warning after a step."""

    def __init__(self, step: int | None) -> None:
        self.at = step

    def step(self, report: StepReport) -> None:
        if report.step == self.at:
            os.kill(os.getpid(), signal.SIGKILL)


def run(
    output: Path, config: TrainingConfig, *, resume: bool = False, dropout: float = 0.0, kill_at: int | None = None
) -> tuple[TrainResult, Toy, int]:
    """Train the toy; returns the result, the model and the number of rows of the last evaluation."""
    accelerator = make_accelerator(config, output, cpu=True)
    model, packs, valid = Toy(dropout=dropout), make_packs(23), make_packs(11, seed=2)
    total = sum(pack.samples for pack in valid)
    counted: list[int] = []

    def evaluate() -> dict[str, float]:
        mine = valid[accelerator.process_index :: accelerator.num_processes]
        scores = torch.cat([model.scores(pack.task, pack.features) for pack in mine])
        places = torch.cat([pack.places for pack in mine])
        rows = gather_rows(accelerator, places, scores, total)
        labels = torch.cat([pack.labels for pack in valid])
        counted.append(len(rows))
        loss = nn.functional.binary_cross_entropy_with_logits(rows, labels)
        return {"objective": -float(loss), "accuracy": float(((rows > 0) == (labels > 0)).double().mean())}

    result = train(
        model,
        packs,
        evaluate,
        config,
        collate=collate,
        accelerator=accelerator,
        output=output,
        resume=resume,
        progress=KillAt(kill_at),
        tasks=TASKS,
    )
    return result, model, counted[-1] if counted else 0


def main() -> None:
    """Run from the command line and write what came out to `output`/result.json."""
    parser = argparse.ArgumentParser()
    parser.add_argument("output", type=Path)
    parser.add_argument("--config", type=json.loads, default={})
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--dropout", type=float, default=0.0)
    parser.add_argument("--kill-at", type=int)
    parser.add_argument("--ranks", type=int, default=1)
    options = parser.parse_args()
    result, model, rows = run(
        options.output,
        TrainingConfig(**options.config),
        resume=options.resume,
        dropout=options.dropout,
        kill_at=options.kill_at,
    )
    world = torch.distributed.get_world_size() if torch.distributed.is_initialized() else 1
    if world != options.ranks:
        raise SystemExit(f"{world} processes instead of {options.ranks}")
    if int(os.environ.get("RANK", "0")) == 0:
        answer = {
            "best": result.best.step,
            "steps": result.steps,
            "samples": result.samples,
            "evaluations": [[e.step, dict(e.metrics)] for e in result.evaluations],
            "rows": rows,
            "parameters": {n: p.flatten().tolist() for n, p in model.named_parameters()},
        }
        (options.output / "result.json").write_text(json.dumps(answer))
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()
