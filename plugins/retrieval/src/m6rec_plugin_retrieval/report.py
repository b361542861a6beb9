"""What a full ranking found, as tables for people and numbers for `metrics.json`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from m6rec_core.metrics import Bootstrap, Interval
from m6rec_core.metrics.evidence import RowSums, difference, intervals
from m6rec_core.metrics.retrieval import catalogue_coverage, hit_rate, mrr, ndcg
from m6rec_core.types import ReportTable, RunView
from m6rec_plugin_retrieval.cases import Catalogue
from m6rec_plugin_retrieval.ranking import TOP, Ranked
from m6rec_plugin_retrieval.sample import RetrievalSample
from m6rec_plugin_retrieval.settings import RetrievalConfig

MODEL = "m6rec"
Mask = NDArray[np.bool_]


def evidence(one: Ranked, items: int) -> dict[str, RowSums]:
    """The metrics of a ranking; those deeper than the catalogue are left out."""
    found = {f"HR@{k}": hit_rate(one.ranks, items, k) for k in (10, 50, 100) if k <= items}
    if items >= TOP:
        found[f"NDCG@{TOP}"] = ndcg(one.ranks, items, TOP)
    return {**found, "MRR": mrr(one.ranks, items)}


def table_of(title: str, ranked: Mapping[str, Ranked], rows: Mask | None, plan: Bootstrap, items: int) -> ReportTable:
    """One line per model; `rows` [N] chooses rows, None all. Leads are paired, at the greater depth for chosen rows."""
    chosen = {name: one if rows is None else one.where(rows) for name, one in ranked.items()}
    own = evidence(chosen[MODEL], items)
    hits = [name for name in own if name.startswith("HR")] or ["MRR"]
    lead = hits[0] if rows is None else hits[-1]
    lines = []
    for name, one in chosen.items():
        found = evidence(one, items)
        cells = [_cell(value) for value in intervals(found, plan).values()]
        ahead = "" if name == MODEL else _cell(difference(own[lead], found[lead], plan), sign=True)
        lines.append((name, *cells, f"{catalogue_coverage(one.top, items).value:.1%}", ahead))
    return ReportTable(title, ("model", *own, f"coverage@{TOP}", f"lead of the model in {lead}"), tuple(lines))


def metrics_of(ranked: Mapping[str, Ranked], unseen: Mask, plan: Bootstrap, items: int) -> dict[str, Any]:
    """The numbers of the tables, by model."""
    found: dict[str, Any] = {}
    for name, one in ranked.items():
        found[name] = {"all": _numbers(one, plan, items)}
        if unseen.any():
            found[name]["unseen"] = _numbers(one.where(unseen), plan, items)
    return found


def facts_of(run: RunView, config: RetrievalConfig, catalogue: Catalogue) -> tuple[tuple[str, str], ...]:
    """The protocol in words."""
    history = "left out of the ranking" if config.exclude_history else "ranked like any other"
    facts = [
        ("ranking", f"all {len(catalogue.items):,} items, none sampled; items of the user's history are {history}")
    ]
    if catalogue.left is not None:
        facts.append(("held out", "each user's last event tests, the one before validates; ties in file order"))
    if catalogue.unseen.any():
        facts.append(("unseen", f"{int(catalogue.unseen.sum()):,} items are held out of all training"))
    share = same_item_share([row for row in run.parts["train"] if isinstance(row, RetrievalSample)])
    if share is not None:
        facts.append(("negatives", f"{share:.2%} of in-batch negatives are the pair's own item and masked"))
    return tuple(facts)


def same_item_share(pairs: list[RetrievalSample]) -> float | None:
    """How likely another training pair has the same item; None for fewer than two pairs."""
    candidates = [pair.candidate.item_id for pair in pairs if pair.candidate is not None]
    if len(candidates) < 2:
        return None
    counts = np.unique(candidates, return_counts=True)[1].astype(np.float64)
    return float((counts * (counts - 1)).sum() / (len(candidates) * (len(candidates) - 1)))


def _numbers(one: Ranked, plan: Bootstrap, items: int) -> dict[str, Any]:
    found: dict[str, Any] = {name: asdict(value) for name, value in intervals(evidence(one, items), plan).items()}
    return {**found, f"coverage@{TOP}": catalogue_coverage(one.top, items).value, "rows": len(one.ranks)}


def _cell(found: Interval, sign: bool = False) -> str:
    numbers = (found.value, found.low, found.high)
    value, low, high = (f"{number:+.4f}" if sign else f"{number:.4f}" for number in numbers)
    return f"{value} [{low}, {high}]"
