"""The retrieval baselines by themselves: to choose settings, to repeat docs/experiments/retrieval-baselines.md.

python -m m6rec_plugin_baselines.retrieval --data ml-1m --model sasrec-ce --seeds 0 --set epochs=40
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import time
from collections.abc import Sequence

from m6rec_core.baselines import TRIVIAL_RETRIEVERS, FittedRetriever, RetrievalRows, Retriever
from m6rec_core.baselines.full_ranking import full_ranking
from m6rec_core.baselines.retrieval import retrieval_data, retrieval_rows
from m6rec_core.errors import ConfigError
from m6rec_core.logs import catalogue, leave_one_out, locate, read_logs, unseen_items
from m6rec_core.logs.leave_one_out import BoolArray
from m6rec_core.metrics.evidence import intervals
from m6rec_core.metrics.retrieval import catalogue_coverage, hit_rate, mrr, ndcg
from m6rec_plugin_baselines.commands import changed, ended
from m6rec_plugin_baselines.retrievers import (
    SASREC_BCE,
    SASREC_CE,
    TWIN_TEXT,
    TWIN_TEXT_TRANSFORMER,
    YOUTUBE_DNN,
    NextItemRetriever,
)

MODELS: tuple[Retriever, ...] = (
    *TRIVIAL_RETRIEVERS, YOUTUBE_DNN, TWIN_TEXT, TWIN_TEXT_TRANSFORMER, SASREC_BCE, SASREC_CE,
)  # fmt: skip


def chosen_model(name: str, changes: Sequence[str]) -> Retriever:
    """Return the model with `NAME=VALUE` changes to its settings. ConfigError for what does not exist."""
    found = {model.name: model for model in MODELS}
    if name not in found:
        raise ConfigError(f"--model {name}: no such model (there are: {', '.join(found)})")
    model = found[name]
    if not changes:
        return model
    if not isinstance(model, NextItemRetriever):
        raise ConfigError(f"--set {changes[0]}: {name} has no settings")
    return dataclasses.replace(model, settings=changed(model.settings, changes))


def measured(
    fitted: FittedRetriever, rows: RetrievalRows, exclude: bool, among: BoolArray | None = None
) -> dict[str, object]:
    """Return HR, NDCG and MRR of full ranking on `rows` as [value, low, high] (95 %), coverage, rows, items ranked."""
    items = fitted.scores(rows.histories[:1]).shape[1]
    found = full_ranking(fitted, rows, min(10, items), exclude, among)
    ranked = int(among.sum()) if among is not None else items
    evidence = {
        "hr@10": hit_rate(found.rank, items, min(10, items)),
        "ndcg@10": ndcg(found.rank, items, min(10, items)),
        "hr@100": hit_rate(found.rank, items, min(100, items)),
        "mrr": mrr(found.rank, items),
    }
    values: dict[str, object] = {"rows": len(rows), "items": ranked}
    for name, interval in intervals(evidence).items():
        values[name] = [round(value, 4) for value in (interval.value, interval.low, interval.high)]
    return values | {"coverage@10": round(catalogue_coverage(found.top, items).value * items / ranked, 4)}


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m m6rec_plugin_baselines.retrieval", description=__doc__)
    parser.add_argument("--data", default="ml-1m", help="name of a data set, or a folder of logs")
    parser.add_argument("--model", nargs="+", default=["popularity"], help="models to train, one after the other")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--unseen-share", type=float, default=0.0, help="share of the items held out of training")
    parser.add_argument("--unseen-seed", type=int, default=0, help="which items are held out")
    parser.add_argument("--keep-history", action="store_true", help="rank the items of the user's history as well")
    parser.add_argument("--valid-only", action="store_true", help="measure on the valid rows, to choose settings")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="change a setting")
    return parser.parse_args(arguments)


def run(arguments: Sequence[str] | None = None) -> None:
    """Read the logs; for every model and seed train, rank all items, print one JSON line."""
    asked = _arguments(arguments)
    models = [chosen_model(name, asked.set) for name in asked.model]
    logs = read_logs(locate(asked.data))
    split = leave_one_out(logs)
    unseen = unseen_items(split, asked.unseen_share, asked.unseen_seed)
    data = retrieval_data(split, catalogue(logs), unseen)
    valid = retrieval_rows(split, "valid")
    rows = valid if asked.valid_only else retrieval_rows(split, "test")
    for model in models:
        for seed in asked.seeds:
            started = time.perf_counter()
            fitted = model.fit(data, valid, seed, lambda line: print(line, file=sys.stderr, flush=True))
            line: dict[str, object] = {"model": model.name, "seed": seed, "changed": asked.set, "info": {**fitted.info}}
            line["part"] = "valid" if asked.valid_only else "test"
            line["all"] = measured(fitted, rows, not asked.keep_history)
            if unseen.any():
                held_out = rows.where(unseen[rows.targets])
                line["seen"] = measured(fitted, rows.where(~unseen[rows.targets]), not asked.keep_history)
                line["unseen"] = measured(fitted, held_out, not asked.keep_history)
                line["unseen_among_unseen"] = measured(fitted, held_out, not asked.keep_history, unseen)
            print(json.dumps(line | {"seconds": round(time.perf_counter() - started, 1)}), flush=True)


if __name__ == "__main__":
    raise SystemExit(ended(run))
