"""The five tuning modes at equal steps on the same rows: Figure 8 of the paper, as a table and a picture."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING, Any, get_args

import torch

from m6rec_core.assemble import plan_for
from m6rec_core.backbone.hf import Backbone
from m6rec_core.backbone.load import load_backbone
from m6rec_core.config import Mode, RunConfig
from m6rec_core.decoding.writing import writer
from m6rec_core.errors import ConfigError
from m6rec_core.files import replacing
from m6rec_core.metrics import METRICS, Bootstrap, MetricInput, bootstrap_interval
from m6rec_core.model import M6Rec
from m6rec_core.registry import Task
from m6rec_core.runs.data import RunData, RunRows
from m6rec_core.runs.files import write_json
from m6rec_core.runs.found import Clock
from m6rec_core.runs.pipeline import prepare, tune
from m6rec_core.runs.record import Prepared
from m6rec_core.runs.start import fit_start
from m6rec_core.runs.teaching import attach_teacher
from m6rec_core.serving.scoring import score_packs
from m6rec_core.training.history import read_history
from m6rec_core.training.loop import OBJECTIVE

if TYPE_CHECKING:
    from accelerate import Accelerator

ALL_MODES: tuple[Mode, ...] = get_args(Mode)
FIGURE = "tuning-modes.png"
TABLE = "tuning-modes.json"


@dataclass(frozen=True, slots=True)
class ModeCurve:
    """How one mode went from one seed.

    `valid`: (step, objective) from step 0 on: the first metric, negative where less is better. `loss`: (step, training
    loss per sample). `interval`: 95 % bootstrap interval of the best evaluation on the valid rows; None for tasks with
    an evaluation of their own.
    """

    mode: Mode
    seed: int
    lr: float
    parameters: int
    share: float
    seconds: float
    valid: tuple[tuple[int, float], ...]
    loss: tuple[tuple[int, float], ...]
    interval: tuple[float, float] | None = None

    @property
    def best(self) -> tuple[int, float]:
        """Step and value of the best evaluation."""
        return max(self.valid, key=lambda point: point[1])

    def first_above(self, value: float) -> int | None:
        """The first evaluated step whose metric reaches `value`; None when none does. Convergence in one number."""
        return next((step for step, found in self.valid if found >= value), None)


@dataclass(frozen=True, slots=True)
class ModePlan:
    """What is compared: modes, seeds, and the learning rates of modes that have one of their own."""

    modes: Sequence[Mode]
    seeds: Sequence[int] = (0,)
    rates: Mapping[str, float] = field(default_factory=dict)


def compare_modes(
    task: Task,
    config: RunConfig,
    logs: RunData,
    accelerator: Accelerator,
    output: Path,
    plan: ModePlan,
    say: Callable[[str], None],
) -> list[ModeCurve]:
    """Tune each mode from each seed on the same rows and steps; writes a table and a picture to `output`.

    Nothing stops early, so that the curves have equal length. The test part is not looked at. Raises ConfigError before
    anything is tuned when a mode does not fit the budget.
    """
    check_budgets(task, config, plan.modes, load_backbone(config.backbone, torch.float32, say=say))
    training = config.training
    endless = training.model_copy(update={"patience": training.evaluations + 1, "checkpoints": 0})
    curves = []
    for mode in plan.modes:
        tuning = config.tuning.model_copy(update={"mode": mode})
        for seed in plan.seeds:
            update: dict[str, Any] = {"seed": seed}
            if mode in plan.rates:
                update |= {"lr": plan.rates[mode], "prompt_lr": plan.rates[mode]}
            own = config.model_copy(update={"tuning": tuning, "training": endless.model_copy(update=update)})
            folder = output / (mode if len(plan.seeds) == 1 else f"{mode}-{seed}")
            curves.append(_one(task, own, logs, accelerator, folder, say))
    metric = task.manifest.metrics[0]
    if accelerator.is_main_process:
        write_json(output / TABLE, {"metric": metric, "modes": [asdict(curve) for curve in curves]})
        draw(curves, metric, output / FIGURE)
    return curves


def check_budgets(task: Task, config: RunConfig, modes: Sequence[Mode], backbone: Backbone) -> None:
    """Raise one ConfigError for all modes that do not fit the budget."""
    refused: dict[str, str] = {}
    for mode in modes:
        try:
            plan_for(task, config.settings, config.tuning.model_copy(update={"mode": mode}), backbone)
        except ConfigError as error:
            refused[mode] = str(error)
    if refused:
        others = f" (the same holds for {', '.join(list(refused)[:-1])})" if len(refused) > 1 else ""
        raise ConfigError(f"{list(refused.values())[-1]}{others}; or leave modes out with --mode")


def _one(
    task: Task, config: RunConfig, logs: RunData, accelerator: Accelerator, output: Path, say: Callable[[str], None]
) -> ModeCurve:
    clock = Clock()
    prepared = prepare(task, config, logs, accelerator, clock, say)
    say(f"{config.tuning.mode}: {prepared.assembled.plan.parameters:,} parameters, seed {config.training.seed}")
    model = M6Rec(prepared.backbone, {task.name: prepared.assembled.tuned}, writer)
    shown = accelerator.is_main_process
    attach_teacher(prepared, model, accelerator, shown, say)
    fit_start(prepared, model, accelerator, shown)
    with clock.stage("tune"):
        result = tune(prepared, model, accelerator, output, resume=False, shown=shown)
    rows = read_history(result.history)
    return ModeCurve(
        mode=config.tuning.mode,
        seed=config.training.seed,
        lr=config.training.lr,
        parameters=prepared.assembled.plan.parameters,
        share=prepared.assembled.plan.share,
        seconds=round(clock.stages["tune"], 1),
        valid=tuple((e.step, e.metrics[OBJECTIVE]) for e in result.evaluations),
        loss=tuple((r["step"], r["loss"]) for r in rows if r.get("loss") is not None),
        interval=_interval(prepared, model, accelerator),
    )


def _interval(prepared: Prepared, model: M6Rec, accelerator: Accelerator) -> tuple[float, float] | None:
    """How sure the best evaluation is: the model holds its parameters again."""
    rows, manifest = prepared.rows, prepared.task.manifest
    if not isinstance(rows, RunRows):
        return None
    packs = prepared.parts["valid"].packs
    score = score_packs(model, prepared.task.name, packs, [manifest.score_field], accelerator)[:, 0]
    valid, metric = rows.rows["valid"], METRICS[manifest.metrics[0]]
    data = MetricInput(rows.table.label[valid], score, score, rows.table.user[valid])
    found = bootstrap_interval(metric, data, plan=Bootstrap(resamples=prepared.config.evaluation.bootstrap))
    return (found.low, found.high) if metric.higher_is_better else (-found.high, -found.low)


def of_modes(curves: Sequence[ModeCurve]) -> dict[Mode, list[ModeCurve]]:
    """The curves of each mode, one per seed."""
    groups: dict[Mode, list[ModeCurve]] = {}
    for curve in curves:
        groups.setdefault(curve.mode, []).append(curve)
    return groups


def mode_table(curves: Sequence[ModeCurve], metric: str) -> tuple[list[str], list[list[str]]]:
    """Titles and cells: sizes, the metric at the start, the end and at best (mean and range over the seeds), the
    interval of the best, and how soon each seed came to 95 % of the way from the lowest start to the best mean."""
    groups = of_modes(curves)
    start = min(curve.valid[0][1] for curve in curves)
    goal = start + 0.95 * (max(mean(curve.best[1] for curve in group) for group in groups.values()) - start)
    titles = ["mode", "parameters", "share", "lr", f"valid {metric} at start", "at end", "best", "95 % of the rows"]
    titles += [f"steps to {goal:.3f}", "s"]
    return titles, [_cells(group, goal) for group in groups.values()]


def _cells(group: Sequence[ModeCurve], goal: float) -> list[str]:
    first = group[0]
    steps = [curve.first_above(goal) for curve in group]
    return [
        first.mode,
        f"{first.parameters:,}",
        f"{first.share:.2%}",
        f"{first.lr:g}",
        *(_over_seeds([pick(curve) for curve in group]) for pick in (_at_start, _at_end, _at_best)),
        "n/a" if first.interval is None else f"[{first.interval[0]:.3f}, {first.interval[1]:.3f}]",
        ", ".join("not reached" if step is None else str(step) for step in steps),
        f"{mean(curve.seconds for curve in group):.0f}",
    ]


def _at_start(curve: ModeCurve) -> float:
    return curve.valid[0][1]


def _at_end(curve: ModeCurve) -> float:
    return curve.valid[-1][1]


def _at_best(curve: ModeCurve) -> float:
    return curve.best[1]


def _over_seeds(values: Sequence[float]) -> str:
    """The mean, and the range where there are several."""
    text = f"{mean(values):.3f}"
    return text if len(values) == 1 else f"{text} ({min(values):.3f} to {max(values):.3f})"


def draw(curves: Sequence[ModeCurve], metric: str, target: Path) -> None:
    """Valid metric and smoothed training loss over the steps, a line per mode (paper Fig. 8), as a PNG.

    Lines are means over the seeds, bands their range; the bar at the right is the 95 % interval of the best evaluation
    of the first seed: lines that differ by less are not told apart on these valid rows.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    last = max(curve.valid[-1][0] for curve in curves)
    for number, group in enumerate(of_modes(curves).values()):
        first, color = group[0], f"C{number}"
        steps = [step for step, _ in first.valid]
        values = list(zip(*([value for _, value in curve.valid] for curve in group), strict=True))
        left.plot(steps, list(map(mean, values)), color, marker="o", label=f"{first.mode} ({first.share:.2%})")
        left.fill_between(steps, list(map(min, values)), list(map(max, values)), color=color, alpha=0.2)
        if first.interval is not None:
            place = last * (1.03 + 0.02 * number)
            left.plot([place, place], first.interval, color, linewidth=3, alpha=0.5)
        losses = [_smooth(curve.loss) for curve in group]
        averages = [mean(values) for values in zip(*(means for _, means in losses), strict=True)]
        right.plot(losses[0][0], averages, color, label=first.mode)
    left.set(title=f"valid {metric}; bars: 95 % interval of the best", xlabel="step")
    right.set(title="training loss per sample, running mean", xlabel="step")
    left.legend(fontsize="small")
    with replacing(target) as partial:
        figure.savefig(partial, format="png", dpi=120)


def _smooth(points: Sequence[tuple[int, float]]) -> tuple[list[int], list[float]]:
    window = max(1, len(points) // 8)
    values = [value for _, value in points]
    means = [sum(values[max(0, i + 1 - window) : i + 1]) / min(window, i + 1) for i in range(len(values))]
    return [step for step, _ in points], means
