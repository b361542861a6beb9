"""`m6rec figure7`: zero-shot AUC, and after fitting few samples, beside DIN against the number of its training rows."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import click

from m6rec_core.errors import ConfigError, DataError, RunError
from m6rec_core.files import replacing

FIGURE, TABLE = "figure7.png", "figure7.json"
RIVAL = "din"


@dataclass(frozen=True, slots=True)
class Point:
    """The pooled AUC of a model after `rows` training samples, with its interval; `rows` None for what never learns."""

    model: str
    rows: int | None
    auc: float
    low: float
    high: float


@click.command()
@click.option("--data", default="ml-1m", show_default=True, help="Name of a known data set, or a folder.")
@click.option("--backbone", help="Known name, folder, or hub id. Default: smollm2-135m.")
@click.option("--shots", default="0,80,400", show_default=True, help="Samples to fit, separated by commas.")
@click.option("--din-rows", default="80,400,2000,8000,all", show_default=True, help="Training samples of DIN.")
@click.option("--set", "assignments", multiple=True, metavar="NAME=VALUE", help="Any setting, as in m6rec run.")
@click.option("--output", type=click.Path(path_type=Path), help="Folder. Default: runs/figure7-<data>.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of the table.")
def figure7(
    data: str,
    backbone: str | None,
    shots: str,
    din_rows: str,
    assignments: tuple[str, ...],
    output: Path | None,
    as_json: bool,
) -> None:
    """Draw Figure 7 of the paper: AUC of the clicked item among random ones, as table and picture.

    Every point is kept under --output as soon as it is known, and table and picture have what there is so far: after an
    interruption the same command goes on.
    """
    from m6rec_plugin_zeroshot.asking import say

    counts = sorted(set(_counts("--shots", shots)))
    folder = output or Path("runs") / f"figure7-{Path(data).name}"
    runs: dict[int, dict[str, Any]] = {}
    for count in counts:
        runs[count] = run_of(folder / f"shots-{count}", data, backbone, count, assignments)
        keep(points_of(runs), folder, data)
    points = points_of(runs)
    for point in din_points(data, folder, counts[0], _counts("--din-rows", din_rows, whole=True), say):
        if point not in points:
            points.append(point)
        keep(points, folder, data)
    if as_json:
        click.echo((folder / TABLE).read_text(encoding="utf-8"), nl=False)
        return
    from m6rec_plugin_zeroshot.asking import text_table

    lines = [
        [p.model, "" if p.rows is None else f"{p.rows:,}", f"{p.auc:.3f} [{p.low:.3f}, {p.high:.3f}]"] for p in points
    ]
    click.echo(text_table(["model", "training samples", "auc"], lines))
    click.echo(f"picture: {folder / FIGURE}")


def run_of(folder: Path, data: str, backbone: str | None, shots: int, assignments: Sequence[str]) -> dict[str, Any]:
    """Return the metrics of a run with so many shots: of a finished one in `folder`, else run it (or go on with it)."""
    metrics = folder / "metrics.json"
    if not metrics.is_file():
        command = [sys.executable, "-m", "m6rec_core", "run", "--task", "zeroshot", "--data", data]
        command += ["--shots", str(shots), "--output", str(folder)]
        command += ["--backbone", backbone] if backbone else []
        command += [part for assignment in assignments for part in ("--set", assignment)]
        command += ["--resume"] if (folder / "config.yaml").is_file() else []
        done = subprocess.run(command, stdout=subprocess.DEVNULL, check=False)  # noqa: S603 - our own command
        if done.returncode or not metrics.is_file():
            raise RunError(f"the run with {shots} shots ended with code {done.returncode}; its reason is above")
    found: dict[str, Any] = json.loads(metrics.read_text(encoding="utf-8"))
    asked = (data, shots)
    if (found["protocol"]["data"], found["protocol"]["rows"]["train"]["used"]) != asked and shots < (
        found["protocol"]["rows"]["train"]["of"]
    ):
        raise RunError(f"{folder} holds a run of other data or shots; choose another --output")
    return found


def points_of(runs: Mapping[int, Mapping[str, Any]]) -> list[Point]:
    """The model at each number of shots, and the rivals of the first run."""
    points = []
    for metrics in runs.values():
        report = metrics["report"]
        points.append(_point("m6rec", metrics["protocol"]["rows"]["train"]["used"], report["models"]["m6rec"]["auc"]))
    first = next(iter(runs.values()))["report"]["models"]
    return points + [_point(name, None, found["auc"]) for name, found in first.items() if name != "m6rec"]


def keep(points: Sequence[Point], folder: Path, data: str) -> None:
    """Write table and picture of what is known so far."""
    write_whole(folder / TABLE, json.dumps([asdict(point) for point in points], indent=2).encode() + b"\n")
    draw(points, folder / FIGURE, data)


def din_points(
    data: str, folder: Path, shots: int, counts: Sequence[int | None], say: Callable[[str], None]
) -> Iterator[Point]:
    """Yield DIN on the test samples of the run with `shots` in `folder`, for each number of training samples (None: all
    there are), the smallest first. A point that was reached before with the same samples is read, not learned again.

    None at all, and said, where no package offers a baseline of that name.
    """
    from m6rec_plugin_zeroshot.rows import Material, baseline_of, compare, identity, material

    rival = baseline_of(RIVAL)
    if rival is None:
        say(f"no installed package offers the baseline {RIVAL}: the figure has none (m6rec-plugin-baselines has one)")
        return
    run = folder / f"shots-{shots}"
    name = identity(data, run)
    found: Material | None = None
    for count in sorted(set(counts), key=lambda count: (count is None, count)):
        file = folder / f"{RIVAL}-{'all' if count is None else count}.json"
        point = kept_point(file, name)
        if point is None:
            found = found or material(data, run)
            size = len(found.train) if count is None else min(count, len(found.train))
            interval = compare(rival, found, size)
            point = Point(RIVAL, size, interval.value, interval.low, interval.high)
            write_whole(file, json.dumps({"samples": name, **asdict(point)}, indent=2).encode() + b"\n")
        say(f"{RIVAL}, {point.rows or 0:,} training samples: auc {point.auc:.3f}")
        yield point


def kept_point(file: Path, name: str) -> Point | None:
    """The point in `file`, None where there is none, or it is damaged or of other samples than `name`."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        return Point(**{field.name: found[field.name] for field in fields(Point)}) if found["samples"] == name else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def draw(points: Sequence[Point], path: Path, data: str) -> None:
    """Draw the curves (with intervals) and a line for each model that never learns; written whole."""
    import io

    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for model in dict.fromkeys(point.model for point in points):
        own = [point for point in points if point.model == model]
        if own[0].rows is None:
            (line,) = axes.plot([], [])
            axes.axhline(own[0].auc, linestyle=":", color=line.get_color(), label=model)
            continue
        heights = [point.auc for point in own]
        spread = [[p.auc - p.low for p in own], [p.high - p.auc for p in own]]
        axes.errorbar([p.rows or 0 for p in own], heights, yerr=spread, marker="o", capsize=3, label=model)
    axes.set_xscale("symlog", linthresh=80)
    axes.set_xlabel("training samples")
    axes.set_ylabel("AUC, clicked among random")
    axes.set_title(f"{Path(data).name} (95 % intervals)")
    axes.legend(fontsize="small")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120)
    write_whole(path, buffer.getvalue())


def write_whole(path: Path, content: bytes) -> None:
    """Write a file that is complete as soon as it has its name. Raises DataError when the disk refuses."""
    try:
        with replacing(path) as partial:
            partial.write_bytes(content)
    except OSError as error:
        raise DataError(f"{path}: cannot be written ({error.strerror or error})") from error


def _counts(option: str, text: str, whole: bool = False) -> list[Any]:
    found: list[int | None] = []
    for part in (piece.strip() for piece in text.split(",")):
        if whole and part == "all":
            found.append(None)
        elif part.isdigit():
            found.append(int(part))
        else:
            raise ConfigError(
                f"{option} {text!r}: {part!r} is not a number{' or all' if whole else ''}; write 0,80,400"
            )
    return found


def _point(model: str, rows: int | None, found: Mapping[str, float]) -> Point:
    return Point(model, rows, found["value"], found["low"], found["high"])
