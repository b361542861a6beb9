"""Score packs of samples: here, or over all ranks in the order of the data set."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from m6rec_core.errors import RegistryError, RunError
from m6rec_core.model import M6Rec
from m6rec_core.tokens.batching import Pack, collate
from m6rec_core.training.gather import gather_rows
from m6rec_core.types import Prediction, TaskManifest

if TYPE_CHECKING:
    from accelerate import Accelerator

Tick = Callable[[int], None]


def score_columns(manifest: TaskManifest) -> dict[str, str]:
    """Report name -> prediction field: the score itself under "", then the variants."""
    return {"": manifest.score_field, **manifest.variants}


def own_packs(packs: Sequence[Pack], accelerator: Accelerator) -> list[Pack]:
    """The packs that this rank scores: every n-th of them."""
    return list(packs)[accelerator.process_index :: accelerator.num_processes]


def predict_packs(
    model: M6Rec,
    name: str,
    packs: Sequence[Pack],
    device: torch.device,
    packs_per_forward: int = 1,
    tick: Tick = lambda _samples: None,
) -> Iterator[tuple[int, Prediction]]:
    """Yield (index, prediction) of every sample in `packs`, in the order of the packs.

    `tick(samples)` is called after each forward. Raises RegistryError when a task answers in another order.
    """
    model.eval()
    for start in range(0, len(packs), packs_per_forward):
        batch = collate(packs[start : start + packs_per_forward], model.backbone.spec.vocabulary).to(device)
        predicted = model.predict(batch)[name]
        rows = batch.tasks[name]
        for index, sample, prediction in zip(rows.indices, rows.samples, predicted, strict=True):
            if prediction.id != sample.id:
                raise RegistryError(
                    f"decode of task {name!r} answered sample {prediction.id!r} where {sample.id!r} was asked: keep "
                    "the order of view.samples"
                )
            yield index, prediction
        tick(len(rows.indices))


def score_packs(
    model: M6Rec,
    name: str,
    packs: Sequence[Pack],
    fields: Sequence[str],
    accelerator: Accelerator,
    packs_per_forward: int = 1,
    tick: Tick = lambda _samples: None,
) -> NDArray[np.float64]:
    """Scores [n, len(fields)] of the n samples in `packs`, by their `index`; every rank returns all of them.

    `tick(samples)` is called after each forward with the samples of this rank. Raises RunError when a sample was lost
    or came twice.
    """
    indices: list[int] = []
    values: list[list[float]] = []
    mine = own_packs(packs, accelerator)
    for index, prediction in predict_packs(model, name, mine, accelerator.device, packs_per_forward, tick):
        indices.append(index)
        values.append([float(getattr(prediction, field)) for field in fields])
    total = sum(p.samples for p in packs)
    _check_count(len(indices), total, accelerator)
    # Gloo and NCCL gather one dtype; float64 keeps what the head computed.
    table = torch.tensor(values, dtype=torch.float64).reshape(-1, len(fields))
    return gather_rows(accelerator, torch.tensor(indices, dtype=torch.int64), table, total).numpy()


def gather_predictions(
    model: M6Rec,
    name: str,
    packs: Sequence[Pack],
    accelerator: Accelerator,
    total: int,
    tick: Tick = lambda _samples: None,
) -> list[Prediction]:
    """Predictions of the `total` samples in `packs`, by their `index`; every rank returns all of them.

    Raises RunError when a sample was lost.
    """
    own = list(predict_packs(model, name, own_packs(packs, accelerator), accelerator.device, tick=tick))
    if accelerator.num_processes > 1:
        from accelerate.utils import gather_object

        own = gather_object(own)
    return in_order(dict(own), total)


def in_order(found: Mapping[int, Prediction], total: int) -> list[Prediction]:
    """Predictions by index 0 .. total - 1. Raises RunError when one is missing."""
    missing = [index for index in range(total) if index not in found]
    if missing:
        raise RunError(f"{len(missing)} of {total} samples have no prediction, the first is sample {missing[0]}")
    return [found[index] for index in range(total)]


def _check_count(own: int, total: int, accelerator: Accelerator) -> None:
    """`gather_rows` notices a missing row; one that was scored twice shows in the count of all ranks together."""
    counts = accelerator.gather(torch.tensor([own], device=accelerator.device))
    if int(counts.sum()) != total:
        raise RunError(f"{int(counts.sum())} predictions for {total} rows: every row must be given to exactly one rank")
