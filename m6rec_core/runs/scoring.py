"""Score packs of samples, over all ranks, in the order of the data set."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from m6rec_core.errors import RegistryError
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

    `tick(samples)` is called after each forward. Raises RunError when a sample was lost or came twice.
    """
    model.eval()
    indices: list[int] = []
    values: list[list[float]] = []
    total = sum(p.samples for p in packs)
    mine = list(packs)[accelerator.process_index :: accelerator.num_processes]
    for start in range(0, len(mine), packs_per_forward):
        batch = collate(mine[start : start + packs_per_forward], model.backbone.spec.vocabulary).to(accelerator.device)
        predicted = model.predict(batch)[name]
        rows = batch.tasks[name]
        indices.extend(rows.indices)
        values.extend(_values(p, fields, s.id) for p, s in zip(predicted, rows.samples, strict=True))
        tick(len(rows.indices))
    # Gloo and NCCL gather one dtype; float64 keeps what the head computed.
    table = torch.tensor(values, dtype=torch.float64).reshape(-1, len(fields))
    return gather_rows(accelerator, torch.tensor(indices, dtype=torch.int64), table, total).numpy()


def _values(prediction: Prediction, fields: Sequence[str], sample: str) -> list[float]:
    if prediction.id != sample:
        raise RegistryError(
            f"decode answered sample {prediction.id!r} where {sample!r} was asked: keep the order of samples"
        )
    return [float(getattr(prediction, field)) for field in fields]
