"""The five tuning modes at equal steps on the same rows: Figure 8 of the paper, as a table and a picture."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from m6rec_core.config import Mode, RunConfig
from m6rec_core.logs.schema import Logs
from m6rec_core.model import M6Rec
from m6rec_core.registry import Task
from m6rec_core.runs.files import replacing, write_json
from m6rec_core.runs.found import Clock
from m6rec_core.runs.pipeline import prepare, tune
from m6rec_core.runs.start import fit_start
from m6rec_core.training.history import read_history
from m6rec_core.training.loop import OBJECTIVE

if TYPE_CHECKING:
    from accelerate import Accelerator

ALL_MODES: tuple[Mode, ...] = get_args(Mode)
FIGURE = "tuning-modes.png"
TABLE = "tuning-modes.json"


@dataclass(frozen=True, slots=True)
class ModeCurve:
    """How one mode went.

    `valid`: (step, objective) from step 0 on: the first metric, negative where less is better. `loss`: (step, training
    loss per sample).
    """

    mode: Mode
    parameters: int
    share: float
    seconds: float
    valid: tuple[tuple[int, float], ...]
    loss: tuple[tuple[int, float], ...]

    @property
    def best(self) -> tuple[int, float]:
        """Step and value of the best evaluation."""
        return max(self.valid, key=lambda point: point[1])

    def first_above(self, value: float) -> int | None:
        """The first evaluated step whose metric reaches `value`; None when none does. Convergence in one number."""
        return next((step for step, found in self.valid if found >= value), None)


def compare_modes(
    task: Task,
    config: RunConfig,
    logs: Logs,
    accelerator: Accelerator,
    output: Path,
    modes: Sequence[Mode],
    say: Callable[[str], None],
) -> list[ModeCurve]:
    """Tune each mode from the same seed on the same rows and steps; writes a table and a picture to `output`.

    Nothing stops early, so that the curves have equal length. The test part is not looked at.
    """
    training = config.training
    endless = training.model_copy(update={"patience": training.evaluations + 1, "checkpoints": 0})
    curves = []
    for mode in modes:
        tuning = config.tuning.model_copy(update={"mode": mode})
        own = config.model_copy(update={"tuning": tuning, "training": endless})
        curves.append(_one(task, own, logs, accelerator, output / mode, say))
    metric = task.manifest.metrics[0]
    write_json(output / TABLE, {"metric": metric, "modes": [_as_json(curve) for curve in curves]})
    draw(curves, metric, output / FIGURE)
    return curves


def _one(
    task: Task, config: RunConfig, logs: Logs, accelerator: Accelerator, output: Path, say: Callable[[str], None]
) -> ModeCurve:
    clock = Clock()
    prepared = prepare(task, config, logs, accelerator, clock, say)
    say(f"{config.tuning.mode}: {prepared.assembled.plan.parameters:,} parameters")
    model = M6Rec(prepared.backbone, {task.name: prepared.assembled.tuned})
    shown = accelerator.is_main_process
    fit_start(prepared, model, accelerator, shown)
    with clock.stage("tune"):
        result = tune(prepared, model, accelerator, output, resume=False, shown=shown)
    rows = read_history(result.history)
    return ModeCurve(
        mode=config.tuning.mode,
        parameters=prepared.assembled.plan.parameters,
        share=prepared.assembled.plan.share,
        seconds=clock.stages["tune"],
        valid=tuple((e.step, e.metrics[OBJECTIVE]) for e in result.evaluations),
        loss=tuple((r["step"], r["loss"]) for r in rows if r.get("loss") is not None),
    )


def _as_json(curve: ModeCurve) -> dict[str, Any]:
    return {
        "mode": curve.mode,
        "parameters": curve.parameters,
        "share": curve.share,
        "seconds": round(curve.seconds, 1),
        "valid": [list(point) for point in curve.valid],
        "loss": [list(point) for point in curve.loss],
    }


def mode_table(curves: Sequence[ModeCurve], metric: str) -> tuple[list[str], list[list[str]]]:
    """Titles and cells: sizes, the metric at the start, the end and at best, and how soon each mode came to 95 % of the
    way from the common start to the best value of all."""
    start = min(curve.valid[0][1] for curve in curves)
    top = max(curve.best[1] for curve in curves)
    goal = start + 0.95 * (top - start)
    titles = [
        "mode",
        "parameters",
        "share",
        f"valid {metric} at start",
        "at end",
        "best",
        f"steps to {goal:.3f}",
        "s",
    ]
    rows = [
        [
            curve.mode,
            f"{curve.parameters:,}",
            f"{curve.share:.2%}",
            f"{curve.valid[0][1]:.3f}",
            f"{curve.valid[-1][1]:.3f}",
            f"{curve.best[1]:.3f}",
            str(curve.first_above(goal) if curve.first_above(goal) is not None else "not reached"),
            f"{curve.seconds:.0f}",
        ]
        for curve in curves
    ]
    return titles, rows


def draw(curves: Sequence[ModeCurve], metric: str, target: Path) -> None:
    """Valid metric and smoothed training loss over the steps, a line per mode (paper Fig. 8), as a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    for curve in curves:
        left.plot(*zip(*curve.valid, strict=True), marker="o", label=f"{curve.mode} ({curve.share:.2%})")
        steps, losses = _smooth(curve.loss)
        right.plot(steps, losses, label=curve.mode)
    left.set(title=f"valid {metric}", xlabel="step")
    right.set(title="training loss per sample, running mean", xlabel="step")
    left.legend(fontsize="small")
    with replacing(target) as partial:
        figure.savefig(partial, format="png", dpi=120)


def _smooth(points: Sequence[tuple[int, float]]) -> tuple[list[int], list[float]]:
    window = max(1, len(points) // 8)
    values = [value for _, value in points]
    means = [sum(values[max(0, i + 1 - window) : i + 1]) / min(window, i + 1) for i in range(len(values))]
    return [step for step, _ in points], means
