"""DIN by itself, to choose its settings and to repeat docs/experiments/din.md: one JSON line per run.

python -m m6rec_plugin_baselines --data ml-100k --rows 2000 80000 --seeds 0 1 2 --set drop_item=0.2
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from itertools import product

from m6rec_core.baselines import BaselineData, BaselineResult, baseline_data
from m6rec_core.baselines.data import IntArray
from m6rec_core.config import HistoryRule, SamplingConfig
from m6rec_core.logs import build_samples, locate, read_logs
from m6rec_core.metrics import auc, gauc, log_loss
from m6rec_core.types import BehaviourSample
from m6rec_plugin_baselines.commands import changed, ended
from m6rec_plugin_baselines.din import DinBaseline, DinSettings


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m m6rec_plugin_baselines", description="Train DIN and score it.")
    parser.add_argument("--data", default="ml-100k", help="name of a data set, or a folder of logs")
    parser.add_argument("--rows", type=int, nargs="+", default=[0], help="training rows; 0 means all")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--history", type=int, default=10, help="events in a history")
    parser.add_argument("--statistics", action="store_true", help="the variant that reads the statistics")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="change a setting of DIN")
    return parser.parse_args(arguments)


def measured(data: BaselineData, index: IntArray, found: BaselineResult) -> dict[str, float]:
    """Return AUC, GAUC and log loss of a result on the rows `index`."""
    label = data.label[index]
    return {
        "auc": round(auc(label, found.score), 4),
        "gauc": round(gauc(label, found.score, data.user[index])[0], 4),
        "log_loss": round(log_loss(label, found.probability), 4),
    }


def run(arguments: Sequence[str] | None = None) -> None:
    """Read the logs, train once per number of rows and seed, print a line for each."""
    asked = _arguments(arguments)
    baseline = DinBaseline(statistics=asked.statistics, settings=changed(DinSettings(), asked.set))
    logs = read_logs(locate(asked.data))
    table = build_samples(logs, SamplingConfig(history=HistoryRule(events=asked.history)), BehaviourSample)
    data, splits = baseline_data(table), table.splits
    for rows, seed in product(asked.rows, asked.seeds):
        train = table.choose("train", rows or None, seed)
        started = time.perf_counter()
        found = baseline.fit_predict(data, train, splits["valid"], splits["test"], seed)
        line = {"rows": int(train.size), "seed": seed, "changed": asked.set, "statistics": asked.statistics}
        line |= {"seconds": round(time.perf_counter() - started, 1), "test": measured(data, splits["test"], found)}
        print(json.dumps(line | {"info": dict(found.info)}), flush=True)


if __name__ == "__main__":
    raise SystemExit(ended(run))
