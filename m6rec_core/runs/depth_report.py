"""The table and the picture of `m6rec bench late`: seeds of a model become one line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

from m6rec_core.files import replacing
from m6rec_core.runs.requests import Asked, EightBit


@dataclass(frozen=True, slots=True)
class Point:
    """One tuned model: K `late_layers` of the first `student_layers` (0: of all), or a student of `student_layers`, or
    the full model where both are 0.

    `value`: the first metric on the test rows, [low, high] its 95 % interval; `lost`: by how much it is worse than the
    full model of the same seed, [lost_low, lost_high] on the same resamples; None without one. `seconds`: of tuning,
    the encoding of segments and the teacher's reading included.
    """

    late_layers: int
    student_layers: int
    seed: int
    parameters: int
    value: float
    low: float
    high: float
    seconds: float
    asked: Asked
    eight_bit: EightBit | None = None
    lost: float | None = None
    lost_low: float | None = None
    lost_high: float | None = None

    @property
    def name(self) -> str:
        """What tables call the model."""
        if self.student_layers and self.late_layers:
            return f"K = {self.late_layers} of {self.student_layers} layers"
        if self.student_layers:
            return f"student, {self.student_layers} layers"
        return f"K = {self.late_layers}" if self.late_layers else "full model"


def by_model(points: Sequence[Point]) -> dict[str, list[Point]]:
    """The points of each model, one per seed."""
    groups: dict[str, list[Point]] = {}
    for point in points:
        groups.setdefault(point.name, []).append(point)
    return groups


def depth_table(points: Sequence[Point], metric: str) -> tuple[list[str], list[list[str]]]:
    """Titles and cells; losses and ratios are against the full model where it is among `points`.

    With several seeds, values are means and the interval is that of the first.
    """
    groups = by_model(points)
    full = groups.get("full model")
    titles = ["model", "parameters", f"test {metric}", "lost", "p50 ms", "p99 ms", "times faster", "hit rate"]
    titles += ["kB per segment", f"8 bits: {metric}", "kB", "tuning s"]
    return titles, [_cells(group, full) for group in groups.values()]


def _cells(group: Sequence[Point], full: Sequence[Point] | None) -> list[str]:
    first = group[0]
    p50 = mean(point.asked.p50_ms for point in group)
    faster = "" if full is None else f"{mean(point.asked.p50_ms for point in full) / p50:.1f}"
    eight = [point.eight_bit for point in group if point.eight_bit is not None]
    rates = [point.asked.hit_rate for point in group if point.asked.hit_rate is not None]
    sizes = [point.asked.bytes_per_segment for point in group if point.asked.bytes_per_segment is not None]
    return [
        first.name,
        f"{first.parameters:,}",
        f"{_over_seeds([p.value for p in group], '.4f')} [{first.low:.3f}, {first.high:.3f}]",
        _lost(group),
        f"{p50:.1f}",
        f"{mean(point.asked.p99_ms for point in group):.1f}",
        faster,
        f"{mean(rates):.1%}" if rates else "",
        f"{mean(sizes) / 1e3:.1f}" if sizes else "",
        f"{mean(one.value for one in eight):.4f}" if eight else "",
        f"{mean(one.bytes_per_segment for one in eight) / 1e3:.1f}" if eight else "",
        f"{mean(point.seconds for point in group):.0f}",
    ]


def _lost(group: Sequence[Point]) -> str:
    found = [point.lost for point in group if point.lost is not None]
    if not found:
        return ""
    first = group[0]
    interval = "" if first.lost_low is None else f" [{first.lost_low:+.4f}, {first.lost_high:+.4f}]"
    return _over_seeds(found, "+.4f") + interval


def _over_seeds(values: Sequence[float], form: str) -> str:
    """The mean, and the range where there are several."""
    text = f"{mean(values):{form}}"
    return text if len(values) == 1 else f"{text} ({min(values):{form}} to {max(values):{form}})"


def draw(points: Sequence[Point], metric: str, target: Path) -> None:
    """The metric with its interval (of the first seed) against p50 latency, a point for each model, as a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    groups = sorted(by_model(points).items(), key=lambda pair: mean(p.asked.p50_ms for p in pair[1]))
    for name, group in groups:
        first, value = group[0], mean(point.value for point in group)
        spread = [[max(0.0, value - first.low)], [max(0.0, first.high - value)]]
        kind = bool(first.late_layers), bool(first.student_layers)
        shape = {(False, False): "*", (True, False): "o", (False, True): "s", (True, True): "D"}[kind]
        axes.errorbar(
            mean(p.asked.p50_ms for p in group), value, yerr=spread, marker=shape, capsize=3, label=name, linestyle=""
        )
    axes.set(xscale="log", xlabel="milliseconds per request, p50", ylabel=f"test {metric}, 95 % interval")
    figure.legend(loc="outside right upper", fontsize="small")  # inside it would hide intervals
    with replacing(target) as partial:
        figure.savefig(partial, format="png", dpi=120)
