"""The rows of a run: read, split, chosen, checked for leakage, serialised and packed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from m6rec_core.assemble import Assembled, encode
from m6rec_core.backbone.hf import Backbone
from m6rec_core.config import RunConfig, TaskConfig
from m6rec_core.errors import ConfigError, DataError
from m6rec_core.logs.leakage import check_label_hidden, check_leakage
from m6rec_core.logs.samples import SampleTable, build_samples
from m6rec_core.logs.schema import Logs
from m6rec_core.registry import Task
from m6rec_core.tokens.batching import Pack, plan_packs
from m6rec_core.types import BehaviourSample

Rows = NDArray[np.int64]
PARTS = ("train", "valid", "test")


@dataclass(frozen=True, slots=True)
class RunRows:
    """The samples of a run: the whole table, and the row indices used of each part."""

    table: SampleTable
    rows: Mapping[str, Rows]

    def samples(self, part: str) -> list[BehaviourSample]:
        """The samples of a part, in the order of `rows[part]`."""
        return [self.table.sample(int(i)) for i in self.rows[part]]


@dataclass(frozen=True, slots=True)
class PackedPart:
    """One part as packs; sample `index` counts within the part."""

    packs: tuple[Pack, ...]
    samples: int
    tokens: int
    truncated_rows: int
    dropped_segments: int


def derive_samples(task: Task, settings: TaskConfig, logs: Logs) -> SampleTable:
    """The samples that a task's settings derive from logs.

    Checks on every call that history precedes targets and that the label does not reach the text. Raises ConfigError
    for a task that does not take its samples from logs, DataError for logs that hold none.
    """
    if not issubclass(task.manifest.sample, BehaviourSample):
        raise ConfigError(f"task {task.name} does not derive its samples from logs; give it a samples file")
    table = build_samples(logs, settings.sampling, task.manifest.sample, task.manifest.label_field)
    check_leakage(table)
    probe = table.sample(int(table.splits["test"][0]))
    check_label_hidden(lambda s: task.serialize_sample(s, settings), probe, label_field=task.manifest.label_field)
    return table


def choose_rows(task: Task, config: RunConfig, logs: Logs) -> RunRows:
    """Derive the samples and choose the rows of each part by `shots`, `evaluation.valid_rows`, `evaluation.rows`."""
    table = derive_samples(task, config.settings, logs)
    seed = config.training.seed
    limits = {"train": config.shots, "valid": config.evaluation.valid_rows, "test": config.evaluation.rows}
    # The test rows do not depend on the training seed: runs with other seeds are compared on the same rows.
    rows = {part: table.choose(part, limits[part], seed if part == "train" else 0) for part in PARTS}
    for part in PARTS:
        if len(rows[part]) == 0:
            raise DataError(
                f"{logs.source}: the {part} part has no rows ({len(table)} samples in all); add events or change "
                "settings.sampling.split"
            )
    return RunRows(table, rows)


def pack_part(
    name: str, assembled: Assembled, samples: Sequence[BehaviourSample], backbone: Backbone, pack_tokens: int
) -> PackedPart:
    """Serialise, encode and pack the samples of a part."""
    encoded = encode(name, assembled.tuned, samples, backbone)
    packs = plan_packs(encoded.samples, pack_tokens, backbone.causal)
    return PackedPart(
        packs=tuple(packs),
        samples=len(encoded.samples),
        tokens=sum(p.tokens for p in packs),
        truncated_rows=encoded.truncated_rows,
        dropped_segments=encoded.dropped_segments,
    )
