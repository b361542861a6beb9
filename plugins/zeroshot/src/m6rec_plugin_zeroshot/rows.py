"""Choice samples as rows of (user, history, candidate, label) for the baselines of other packages, DIN among them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from importlib.metadata import entry_points
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from m6rec_core.baselines import NO_EVENT, UNKNOWN_OUTCOME, Baseline, BaselineData
from m6rec_core.errors import DataError
from m6rec_core.logs.datasets import locate
from m6rec_core.logs.reading import read_logs
from m6rec_core.logs.sample_folder import find_files, open_sample_folder
from m6rec_core.logs.statistics import STATISTICS
from m6rec_core.metrics import METRICS, Bootstrap, Interval, MetricInput, bootstrap_interval
from m6rec_core.types import Sample
from m6rec_plugin_zeroshot.derive import derive
from m6rec_plugin_zeroshot.sample import ChoiceSample
from m6rec_plugin_zeroshot.settings import ZeroshotConfig

GROUP = "m6rec.baselines"
TARGETS = 20
"""Training samples of each user for comparison models: the newest likes, each after what was liked before."""


@dataclass(frozen=True, slots=True, eq=False)
class Material:
    """What a baseline learns from, stops by, and is scored on: the test samples are those of the run."""

    train: tuple[ChoiceSample, ...]
    valid: tuple[ChoiceSample, ...]
    test: tuple[ChoiceSample, ...]


def baseline_of(name: str) -> Baseline | None:
    """The installed baseline of that name, None where no package offers one."""
    for point in entry_points(group=GROUP):
        if point.name == name:
            value = point.load()
            return value if isinstance(value, Baseline) else None
    return None


def material(data: str, folder: Path) -> Material:
    """Read or derive the samples again that the finished run in `folder` had, with more training samples per user."""
    import pandas as pd

    card = json.loads((folder / "pack" / "pack.json").read_text(encoding="utf-8"))
    config = ZeroshotConfig.model_validate(card["settings"])
    source = locate(data)
    if find_files(source):
        parts = open_sample_folder(source).read(ChoiceSample)
    else:
        more = config.model_copy(update={"train_targets": TARGETS})
        parts = {part: tuple(found) for part, found in derive(read_logs(source), more, 0).items()}
    wanted = set(pd.read_parquet(folder / "predictions.parquet", columns=["id"])["id"])
    test = tuple(sample for sample in _choices(parts["test"]) if sample.id in wanted)
    train, valid = _choices(parts["train"]), _choices(parts["valid"])
    if any(sample.titles and not sample.context_ids for sample in (*train[:1], *test[:1])):
        raise DataError(f"{source}: the samples have no context_ids, which a model of ids needs")
    return Material(train, valid, test)


def identity(data: str, folder: Path) -> str:
    """A digest of what a comparison model learns from and is scored on: data, settings, test samples of a run."""
    import pandas as pd

    card = json.loads((folder / "pack" / "pack.json").read_text(encoding="utf-8"))
    ids = sorted(set(pd.read_parquet(folder / "predictions.parquet", columns=["id"])["id"]))
    return sha256(json.dumps([data, card["settings"], TARGETS, ids], sort_keys=True).encode()).hexdigest()


def compare(rival: Baseline, found: Material, size: int, seed: int = 0) -> Interval:
    """Return the pooled AUC on the test samples of a baseline that learns from `size` training samples."""
    order = np.random.default_rng(seed).permutation(len(found.train))[:size]
    picked = [found.train[int(i)] for i in order]
    samples = [*picked, *found.valid, *found.test]
    data, sample = baseline_rows(samples)
    cuts = np.cumsum([len(picked), len(found.valid)])
    part = np.searchsorted(cuts, sample, side="right")
    train, valid, test = (np.flatnonzero(part == number) for number in range(3))
    scores = rival.fit_predict(data, train, valid, test, seed).score
    rows = MetricInput(data.label[test], scores, None, sample[test])
    return bootstrap_interval(METRICS["auc"], rows, plan=Bootstrap(), clusters=sample[test])


def baseline_rows(samples: Sequence[ChoiceSample]) -> tuple[BaselineData, NDArray[np.int64]]:
    """Return one row per choice, and the sample [n] of each row.

    The counted statistics are left at their start (rates one half, counts 0): baselines of ids do not read them.
    """
    users = {user: code for code, user in enumerate(sorted({sample.user_id for sample in samples}))}
    titles = {i: t for sample in samples for i, t in zip(sample.context_ids, sample.titles, strict=False)}
    titles |= {choice.id: choice.text for sample in samples for choice in sample.choices}
    items = {item: code for code, item in enumerate(sorted(titles))}
    longest = max(len(sample.context_ids) for sample in samples)
    sample_of = np.repeat(np.arange(len(samples)), [len(sample.choices) for sample in samples])
    history = np.full((len(samples), longest), NO_EVENT, dtype=np.int64)
    for place, sample in enumerate(samples):
        for column, item in enumerate(reversed(sample.context_ids)):
            history[place, longest - 1 - column] = items[item]
    label = [float(n in (s.label or ())) for s in samples for n in range(len(s.choices))]
    own = history[sample_of]
    data = BaselineData(
        label=np.array(label),
        statistics=np.tile([0.5 if name.endswith("_rate") else 0.0 for name in STATISTICS], (len(sample_of), 1)),
        time=np.zeros(len(sample_of)),
        user=np.array([users[s.user_id] for s in samples], dtype=np.int64)[sample_of],
        item=np.array([items[choice.id] for s in samples for choice in s.choices], dtype=np.int64),
        history_item=own,
        history_outcome=np.where(own == NO_EVENT, UNKNOWN_OUTCOME, 1).astype(np.int64),
        item_fields={"title": tuple(titles[item] for item in items)},
    )
    return data, sample_of.astype(np.int64)


def _choices(samples: Sequence[Sample]) -> tuple[ChoiceSample, ...]:
    return tuple(sample for sample in samples if isinstance(sample, ChoiceSample))
