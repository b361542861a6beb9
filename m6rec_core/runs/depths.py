"""Late interaction over its depth: AUC and latency for each number K of upper layers, the full model beside it (paper
Table 6)."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from m6rec_core.assemble import encode
from m6rec_core.config import RunConfig
from m6rec_core.errors import ConfigError
from m6rec_core.logs.schema import Logs
from m6rec_core.metrics import METRICS, Bootstrap, MetricInput, bootstrap_intervals
from m6rec_core.model import M6Rec
from m6rec_core.registry import Task
from m6rec_core.runs.data import RunRows
from m6rec_core.runs.files import replacing, write_json
from m6rec_core.runs.found import Clock
from m6rec_core.runs.pipeline import prepare, tune
from m6rec_core.runs.record import Prepared
from m6rec_core.runs.scored import score_test
from m6rec_core.runs.segments import attach_cache
from m6rec_core.runs.start import fit_start
from m6rec_core.runs.teaching import attach_teacher
from m6rec_core.serving.scoring import predict_packs
from m6rec_core.tokens.batching import plan_packs

if TYPE_CHECKING:
    from accelerate import Accelerator

FIGURE = "late.png"
TABLE = "late.json"
REQUESTS = 20
"""Requests whose median latency is taken."""


@dataclass(frozen=True, slots=True)
class Depth:
    """One K (0 is the full model) with its first metric on the test rows, [low, high] its 95 % interval.

    `milliseconds`: the median of REQUESTS requests of one row, text to score, segments known. `seconds`: of tuning.
    """

    late_layers: int
    parameters: int
    value: float
    low: float
    high: float
    milliseconds: float
    tokens: float
    seconds: float


def compare_depths(
    task: Task,
    config: RunConfig,
    logs: Logs,
    accelerator: Accelerator,
    output: Path,
    depths: Sequence[int],
    say: Callable[[str], None],
) -> list[Depth]:
    """Tune the same rows at each K of `depths`; writes a table and a picture to `output`.

    Raises ConfigError for a task without one score per row.
    """
    found = []
    for late_layers in depths:
        tuning = config.tuning.model_copy(update={"late_layers": late_layers})
        own = config.model_copy(update={"tuning": tuning})
        found.append(_one(task, own, logs, accelerator, output / f"layers-{late_layers}", say))
        say(f"K = {late_layers}: {task.manifest.metrics[0]} {found[-1].value:.4f}, {found[-1].milliseconds:.0f} ms")
    metric = task.manifest.metrics[0]
    write_json(output / TABLE, {"metric": metric, "depths": [asdict(depth) for depth in found]})
    draw(found, metric, output / FIGURE)
    return found


def _one(
    task: Task, config: RunConfig, logs: Logs, accelerator: Accelerator, output: Path, say: Callable[[str], None]
) -> Depth:
    shown = accelerator.is_main_process
    prepared = prepare(task, config, logs, accelerator, Clock(), say)
    rows = prepared.rows
    if not isinstance(rows, RunRows):
        raise ConfigError(f"task {task.name} has no score per row, which this comparison needs")
    model = M6Rec(prepared.backbone, {task.name: prepared.assembled.tuned})
    attach_cache(prepared, model, shown, say)
    attach_teacher(prepared, model, accelerator, shown, say)
    began = time.monotonic()
    fit_start(prepared, model, accelerator, shown)
    tune(prepared, model, accelerator, output, resume=False, shown=shown)
    seconds = time.monotonic() - began
    scores = score_test(prepared, model, accelerator, shown)[:, 0]
    test = rows.rows["test"]
    metric = METRICS[task.manifest.metrics[0]]
    answers = MetricInput(rows.table.label[test], scores, scores, rows.table.user[test])
    interval = bootstrap_intervals([metric], answers, plan=Bootstrap(resamples=config.evaluation.bootstrap))[
        metric.name
    ]
    milliseconds, tokens = _latency(prepared, model, rows)
    plan = prepared.assembled.plan
    return Depth(
        config.tuning.late_layers, plan.parameters, interval.value, interval.low, interval.high, milliseconds, tokens,
        seconds,
    )  # fmt: skip


@torch.no_grad()
def _latency(prepared: Prepared, model: M6Rec, rows: RunRows) -> tuple[float, float]:
    """Median milliseconds of one row at a time, text to score, and the mean number of its tokens."""
    name, tuned, backbone = prepared.task.name, prepared.assembled.tuned, prepared.backbone
    samples = rows.samples("test")[:REQUESTS]
    device = backbone.embedding.device
    taken, tokens = [], 0
    for sample in [samples[0], *samples]:
        began = time.perf_counter()
        encoded = encode(name, tuned, [sample], backbone).samples
        packs = plan_packs(encoded, prepared.config.training.pack_tokens, backbone.causal)
        list(predict_packs(model, name, packs, device))
        taken.append(time.perf_counter() - began)
        tokens += sum(pack.tokens for pack in packs)
    rest = sorted(taken[1:])  # the first one warms up
    return 1e3 * rest[len(rest) // 2], tokens / len(taken)


def depth_table(depths: Sequence[Depth], metric: str) -> tuple[list[str], list[list[str]]]:
    """Titles and cells; losses and ratios are against the full model where it is among `depths`."""
    full = next((depth for depth in depths if depth.late_layers == 0), None)
    titles = ["upper layers", "parameters", f"test {metric}", "lost", "ms per request", "times faster", "tuning s"]
    rows = []
    for depth in depths:
        lost = "" if full is None else f"{full.value - depth.value:+.4f}"
        faster = "" if full is None else f"{full.milliseconds / depth.milliseconds:.1f}"
        rows.append(
            [
                str(depth.late_layers) if depth.late_layers else "all (full model)",
                f"{depth.parameters:,}",
                f"{depth.value:.3f} [{depth.low:.3f}, {depth.high:.3f}]",
                lost,
                f"{depth.milliseconds:.1f}",
                faster,
                f"{depth.seconds:.0f}",
            ]
        )
    return titles, rows


def draw(depths: Sequence[Depth], metric: str, target: Path) -> None:
    """The metric with its interval against latency, a point for each K, as a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    for depth in sorted(depths, key=lambda d: d.milliseconds):
        below, above = depth.value - depth.low, depth.high - depth.value
        label = f"K = {depth.late_layers}" if depth.late_layers else "full model"
        axes.errorbar(depth.milliseconds, depth.value, yerr=[[below], [above]], marker="o", capsize=3, label=label)
    axes.set(xscale="log", xlabel="milliseconds per request", ylabel=f"test {metric}, 95 % interval")
    axes.legend(fontsize="small")
    with replacing(target) as partial:
        figure.savefig(partial, format="png", dpi=120)
