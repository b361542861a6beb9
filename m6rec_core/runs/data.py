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
from m6rec_core.logs.datasets import locate
from m6rec_core.logs.leakage import check_label_hidden, check_leakage
from m6rec_core.logs.reading import read_logs
from m6rec_core.logs.sample_folder import SampleFolder, find_files, open_sample_folder
from m6rec_core.logs.samples import SampleTable, build_samples
from m6rec_core.logs.schema import Logs
from m6rec_core.registry import Task
from m6rec_core.serving.distinct import distinct_rows
from m6rec_core.tokens.batching import Encoded, Pack, plan_packs
from m6rec_core.types import BehaviourSample, Sample

Rows = NDArray[np.int64]
RunData = Logs | SampleFolder
PARTS = ("train", "valid", "test")


@dataclass(frozen=True, slots=True)
class RunRows:
    """The samples of a run: the whole table, and the row indices used of each part."""

    table: SampleTable
    rows: Mapping[str, Rows]

    def samples(self, part: str) -> list[BehaviourSample]:
        """The samples of a part, in the order of `rows[part]`."""
        return self.table.samples(self.rows[part])

    def of(self, part: str) -> int:
        """How many samples the part has before it is limited."""
        return len(self.table.splits[part])


@dataclass(frozen=True, slots=True)
class OwnRows:
    """The samples of a task that derives or reads its own: those used of each part, and how many there are."""

    parts: Mapping[str, tuple[Sample, ...]]
    counts: Mapping[str, int]

    def samples(self, part: str) -> list[Sample]:
        """The samples of a part that the run uses."""
        return list(self.parts[part])

    def of(self, part: str) -> int:
        """How many samples the part has before it is limited."""
        return self.counts[part]


@dataclass(frozen=True, slots=True)
class PackedPart:
    """One part as token rows and as packs; sample `index` counts within the part.

    `packs` is empty where nobody reads whole samples and rows recur (`DistinctRows.repeats`): the distinct rows do.
    `tokens`: of the packs, or of the distinct rows.
    """

    encoded: tuple[Encoded, ...]
    packs: tuple[Pack, ...]
    samples: int
    tokens: int
    truncated_rows: int
    dropped_segments: int


def open_data(name: str, progress: bool = True) -> RunData:
    """What `--data` means: behaviour logs, or a folder of sample files."""
    folder = locate(name, progress=progress)
    return open_sample_folder(folder) if find_files(folder) else read_logs(folder)


def own_parts(task: Task, settings: TaskConfig, data: RunData, seed: int) -> dict[str, tuple[Sample, ...]]:
    """All samples of each part, of a task whose manifest has `derive` or whose data are sample files.

    Checks that the label does not reach the text. Raises DataError for a data set without test samples, ConfigError for
    a task that cannot read this kind of data.
    """
    manifest = task.manifest
    if isinstance(data, SampleFolder):
        parts = data.read(manifest.sample)
    elif manifest.derive is not None:
        derived = manifest.derive(data, settings, seed)
        parts = {part: tuple(derived.get(part, ())) for part in PARTS}
    else:
        table = derive_samples(task, settings, data)
        parts = {part: tuple(table.samples(table.splits[part])) for part in PARTS}
    if not parts["test"]:
        raise DataError(f"{data.source}: task {task.name} finds no test samples in these data")
    if manifest.label_field:
        check_label_hidden(
            lambda s: task.serialize_sample(s, settings), parts["test"][0], label_field=manifest.label_field
        )
    return parts


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


def choose_rows(task: Task, config: RunConfig, data: RunData) -> RunRows | OwnRows:
    """Find the samples and choose the rows of each part by `shots`, `evaluation.valid_rows`, `evaluation.rows`."""
    if task.manifest.evaluation is not None:
        return _choose_own(task, config, data)
    if isinstance(data, SampleFolder):
        raise ConfigError(
            f"{data.source}: task {task.name} derives its rows from logs (users, items, events), but this folder holds "
            "sample files; use them with m6rec predict"
        )
    return _choose_scored(task, config, data)


def _limits(config: RunConfig) -> dict[str, int | None]:
    return {"train": config.shots, "valid": config.evaluation.valid_rows, "test": config.evaluation.rows}


def _choose_own(task: Task, config: RunConfig, data: RunData) -> OwnRows:
    seed = config.training.seed
    whole = own_parts(task, config.settings, data, seed)
    limits = _limits(config)
    chosen = {part: draw(whole[part], limits[part], seed if part == "train" else 0) for part in PARTS}
    if config.shots != 0:
        for part in ("train", "valid"):
            if not chosen[part]:
                raise DataError(
                    f"{data.source}: there are no {part} samples to tune with; --shots 0 evaluates the untuned start"
                )
    return OwnRows(chosen, {part: len(whole[part]) for part in PARTS})


def draw(samples: Sequence[Sample], count: int | None, seed: int) -> tuple[Sample, ...]:
    """Up to `count` samples in their order: whole groups (`Sample.group`) drawn by `seed`, the last one cut to its
    first samples. The draw of fewer is contained in the draw of more.
    """
    if count is None or count >= len(samples):
        return tuple(samples)
    names: dict[str, int] = {}
    group = np.array([names.setdefault(sample.group, len(names)) for sample in samples], dtype=np.int64)
    rank = np.empty(len(names), dtype=np.int64)
    rank[np.random.default_rng(seed).permutation(len(names))] = np.arange(len(names))
    picked = np.sort(np.lexsort((np.arange(len(samples)), rank[group]))[:count])
    return tuple(samples[int(i)] for i in picked)


def _choose_scored(task: Task, config: RunConfig, logs: Logs) -> RunRows:
    if config.shots == 0:
        raise ConfigError(f"--shots 0: task {task.name} is compared with baselines that learn; give at least 1 row")
    table = derive_samples(task, config.settings, logs)
    seed, limits = config.training.seed, _limits(config)
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
    name: str,
    assembled: Assembled,
    samples: Sequence[Sample],
    backbone: Backbone,
    pack_tokens: int,
    whole: bool = True,
) -> PackedPart:
    """Serialise, encode and pack the samples of a part. `whole`: whether steps or scores need the packs of it."""
    encoded = encode(name, assembled.tuned, samples, backbone)
    rows, needed = encoded.samples, True
    if not whole:
        distinct = distinct_rows(rows)
        rows, needed = (distinct.rows, False) if distinct.repeats else (rows, True)
    packs = plan_packs(rows, pack_tokens, backbone.causal)
    return PackedPart(
        encoded=encoded.samples,
        packs=tuple(packs) if needed else (),
        samples=len(encoded.samples),
        tokens=sum(p.tokens for p in packs),
        truncated_rows=encoded.truncated_rows,
        dropped_segments=encoded.dropped_segments,
    )
