"""What a full ranking found, as tables for people and numbers for `metrics.json`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from m6rec_core.metrics import Bootstrap
from m6rec_core.metrics.bootstrap import resample_weights
from m6rec_core.types import ReportTable, RunView
from m6rec_plugin_retrieval.cases import Catalogue
from m6rec_plugin_retrieval.ranking import Ranked, ndcg
from m6rec_plugin_retrieval.settings import RetrievalConfig

FloatArray = NDArray[np.float64]
MODEL = "m6rec"
COLUMNS = ("HR@10", "NDCG@10", "MRR", "HR@50", "HR@100")


def row_values(ranks: FloatArray) -> dict[str, FloatArray]:
    """Each metric's value per row [N]; the metric is their mean."""
    found = {f"HR@{depth}": (ranks <= depth).astype(np.float64) for depth in (10, 50, 100)}
    found |= {"NDCG@10": ndcg(ranks, 10), "MRR": 1.0 / ranks}
    return {name: found[name] for name in COLUMNS}


def intervals(values: Mapping[str, FloatArray], plan: Bootstrap) -> dict[str, tuple[float, float, float]]:
    """Mean and 95 % interval of each metric over resampled rows, all from the same resamples."""
    names = list(values)
    table = np.stack([values[name] for name in names], axis=1)
    rows = len(table)
    means = np.concatenate([weights @ table / rows for weights in resample_weights(rows, plan)])
    low, high = np.percentile(means, [2.5, 97.5], axis=0)
    return {
        name: (float(table[:, k].mean()), float(low[k]), float(high[k])) for k, name in enumerate(names)
    }


def coverage(top: NDArray[np.int64], items: int) -> float:
    """The share of the catalogue that is among the ten best of at least one row."""
    return len(np.unique(top)) / items


def table_of(
    title: str, ranked: Mapping[str, Ranked], rows: NDArray[np.bool_] | None, plan: Bootstrap, items: int
) -> ReportTable:
    """One line per model; `rows` [N] chooses rows, None all. The lead is paired, in HR@100 where rows are chosen."""
    lead = "HR@10" if rows is None else "HR@100"
    chosen = {name: _chosen(one, rows) for name, one in ranked.items()}
    own = row_values(chosen[MODEL].ranks)
    lines = []
    for name, one in chosen.items():
        values = row_values(one.ranks)
        cells = [_cell(found) for found in intervals(values, plan).values()]
        ahead = ""
        if name != MODEL:
            ahead = _cell(intervals({lead: own[lead] - values[lead]}, plan)[lead], sign=True)
        lines.append((name, *cells, f"{coverage(one.top, items):.1%}", ahead))
    return ReportTable(title, ("model", *COLUMNS, "coverage@10", f"lead of the model in {lead}"), tuple(lines))


def metrics_of(
    ranked: Mapping[str, Ranked], unseen: NDArray[np.bool_], plan: Bootstrap, items: int
) -> dict[str, Any]:
    """The numbers of the tables, by model."""
    return {
        name: {
            "all": _numbers(one, plan, items),
            **({"unseen": _numbers(_chosen(one, unseen), plan, items)} if unseen.any() else {}),
        }
        for name, one in ranked.items()
    }


def facts_of(run: RunView, config: RetrievalConfig, catalogue: Catalogue) -> tuple[tuple[str, str], ...]:
    """The protocol in words."""
    history = "left out of the ranking" if config.exclude_history else "ranked like any other, as in the literature"
    facts = [
        ("split", "each user's last event tests, the one before validates; ties in file order"),
        ("ranking", f"over all {len(catalogue.items):,} items; items of the user's history are {history}"),
    ]
    if catalogue.unseen.any():
        facts.append(("unseen", f"{int(catalogue.unseen.sum()):,} items are held out of all training"))
    candidates = [row.candidate.item_id for row in run.parts["train"] if getattr(row, "candidate", None)]
    if len(candidates) > 1:
        counts = np.unique(candidates, return_counts=True)[1]
        same = float((counts * (counts - 1.0)).sum() / (len(candidates) * (len(candidates) - 1.0)))
        facts.append(("negatives", f"{same:.2%} of in-batch negatives would be the pair's own item, and are masked"))
    return tuple(facts)


def _numbers(one: Ranked, plan: Bootstrap, items: int) -> dict[str, Any]:
    found: dict[str, Any] = {
        name: {"value": value, "low": low, "high": high}
        for name, (value, low, high) in intervals(row_values(one.ranks), plan).items()
    }
    return {**found, "coverage@10": coverage(one.top, items), "rows": len(one.ranks)}


def _chosen(one: Ranked, rows: NDArray[np.bool_] | None) -> Ranked:
    return one if rows is None else Ranked(one.ranks[rows], one.top[rows])


def _cell(found: tuple[float, float, float], sign: bool = False) -> str:
    value, low, high = (f"{number:+.4f}" if sign else f"{number:.4f}" for number in found)
    return f"{value} [{low}, {high}]"
