"""`m6rec evaluate`: the comparison of a run for a task pack on any logs, without tuning anything."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from m6rec_core.assemble import encode
from m6rec_core.baselines import TRIVIAL
from m6rec_core.config import EvaluationConfig
from m6rec_core.logs.samples import SampleTable
from m6rec_core.logs.schema import Logs
from m6rec_core.runs.baselines import run_baselines
from m6rec_core.runs.compare import Comparison, compare
from m6rec_core.runs.data import RunRows, derive_samples
from m6rec_core.runs.progress import counting
from m6rec_core.runs.scored import contenders_of
from m6rec_core.serving.opening import Opened, summary_int
from m6rec_core.serving.scoring import score_columns

DEFAULTS = EvaluationConfig()


@dataclass(frozen=True, slots=True, eq=False)
class Evaluated:
    """The table and the protocol it was made under."""

    comparison: Comparison
    protocol: Mapping[str, Any]


def evaluate_pack(opened: Opened, logs: Logs, split: str, rows: int | None, shown: bool = True) -> Evaluated:
    """Score up to `rows` rows of a split (whole prefix groups, as in a run) and the task's trivial baselines on them.

    The baselines learn from as many training rows, drawn by the same seed, as the pack was tuned on.
    """
    settings = opened.assembled.tuned.config
    chosen = _rows(opened, derive_samples(opened.task, settings, logs), split, rows)
    test = chosen.rows["test"]
    encoded = encode(opened.task.name, opened.assembled.tuned, chosen.samples("test"), opened.backbone)
    with counting(f"scoring {split} rows", len(test), shown) as tick:
        answers = opened.answer(encoded.samples, tick)
    manifest = opened.task.manifest
    fields = score_columns(manifest).values()
    scores = np.array([[float(getattr(answer, field)) for field in fields] for answer in answers])
    model = contenders_of(manifest, scores)
    names = [name for name in manifest.baselines if name in TRIVIAL]
    others = run_baselines(chosen, names, summary_int(opened.manifest, "seed") or 0, lambda _line: None)
    table = chosen.table
    comparison = compare(
        model[0], [*model[1:], *others], table.label[test], table.user[test], table.cold(test, DEFAULTS.cold_below),
        manifest.metrics, DEFAULTS.bootstrap,
    )  # fmt: skip
    protocol = {
        "part": split,
        "split": settings.sampling.split.model_dump(mode="json"),
        "rows": len(test),
        "of": len(table.splits[split]),
        "baselines_learn_from": len(chosen.rows["train"]),
        "truncated_rows": encoded.truncated_rows,
    }
    return Evaluated(comparison, protocol)


def _rows(opened: Opened, table: SampleTable, split: str, rows: int | None) -> RunRows:
    """The rows to score, called "test" as in a run, and those that the baselines learn from; trivial ones
    choose nothing by valid rows."""
    shots, seed = summary_int(opened.manifest, "shots"), summary_int(opened.manifest, "seed") or 0
    chosen = {
        "train": table.choose("train", shots, seed),
        "valid": table.splits["valid"][:0],
        "test": table.choose(split, rows, 0),
    }
    return RunRows(table, chosen)
