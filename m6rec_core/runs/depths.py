"""Late interaction over its depth: AUC, latency and memory for each number K of upper layers, beside the full model and
students of K layers (paper Table 6). Every point is a folder of its own, so that a comparison can be gone on with.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from m6rec_core.config import RunConfig
from m6rec_core.errors import ConfigError, RunError
from m6rec_core.files import replacing
from m6rec_core.logs.schema import Logs
from m6rec_core.metrics import METRICS, Bootstrap, MetricInput, paired_difference
from m6rec_core.model import M6Rec
from m6rec_core.registry import Task
from m6rec_core.runs.data import RunRows
from m6rec_core.runs.depth_report import Point, draw
from m6rec_core.runs.files import PACK, finite, write_json
from m6rec_core.runs.found import Clock
from m6rec_core.runs.pipeline import prepare, tune
from m6rec_core.runs.record import Prepared, record, record_pack
from m6rec_core.runs.requests import Asked, EightBit, ask, in_eight_bits, interval_of
from m6rec_core.runs.scored import score_test
from m6rec_core.runs.segments import attach_cache
from m6rec_core.runs.start import fit_start
from m6rec_core.runs.teaching import attach_teacher
from m6rec_core.training.checkpoint import FOLDER, checkpoints
from m6rec_core.training.history import NAME as HISTORY
from m6rec_core.tuning.pack import load_state, read_manifest, round_to_pack

if TYPE_CHECKING:
    from accelerate import Accelerator
    from numpy.typing import NDArray

FIGURE = "late.png"
TABLE = "late.json"
POINT = "point.json"
SCORES = "scores.npy"


@dataclass(frozen=True, slots=True)
class DepthPlan:
    """What is compared.

    `depths`: numbers K of upper layers and N of the layers that are used, 0 for all; (0, 0) is the full model, (0, N) a
    student of the first N layers. `students`: beside each K a student of the first K layers.
    `seeds`: each point is tuned from each. `full`: the folder of a tuned full model, instead of tuning one; it is among
    the points in any case. `teach`: the full model teaches all others. `requests`, `full_requests`: how many are timed,
    with and without a cache. `resume`: points that are there are not done again.
    """

    depths: Sequence[tuple[int, int]]
    students: bool = False
    seeds: Sequence[int] = (0,)
    full: Path | None = None
    teach: bool = False
    requests: int = 1000
    full_requests: int = 100
    eight_bit: bool = True
    resume: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class _Bench:
    """What all points share."""

    task: Task
    logs: Logs
    accelerator: Accelerator
    output: Path
    plan: DepthPlan
    say: Callable[[str], None]


def compare_depths(
    task: Task,
    config: RunConfig,
    logs: Logs,
    accelerator: Accelerator,
    output: Path,
    plan: DepthPlan,
    say: Callable[[str], None],
) -> list[Point]:
    """Tune the same rows at each depth of `plan`; writes a table and a picture to `output`, a folder for each point.

    Raises ConfigError for a task without one score per row, or a full model that does not fit; RunError for a folder
    that holds a point of other settings.
    """
    bench = _Bench(task, logs, accelerator, output, plan, say)
    _check(plan)
    points: list[Point] = []
    full: NDArray[np.float64] | None = None
    for seed in plan.seeds:
        base = config.model_copy(update={"training": config.training.model_copy(update={"seed": seed})})
        for late, student in _order(plan):
            if plan.full is not None and full is not None and not late and not student:
                continue  # the same for every seed
            own = _settings(base, late, student, plan, output / f"full-{seed}" / PACK)
            folder = output / _folder(late, student, seed)
            whole = not late and not student
            point, scores = _point(bench, own, folder, None if whole else full)
            full = scores if whole else full
            points.append(point)
            say(_line(point, task.manifest.metrics[0]))
            _write(bench, points)
    return points


def _check(plan: DepthPlan) -> None:
    """Refuse what cannot go on, before anything is tuned."""
    if plan.teach and plan.full is None and (0, 0) not in plan.depths:
        raise ConfigError("--teach needs the full model: add --layers 0, or name one with --full")
    if plan.full is not None:
        tuning = read_manifest(_pack_of(plan.full)).tuning
        if tuning.late_layers or tuning.student_layers:
            raise ConfigError(f"--full {plan.full} is no full model: it has late_layers or student_layers")


def _order(plan: DepthPlan) -> list[tuple[int, int]]:
    """(late layers, student layers) of the points of a seed, the full model first where there is one."""
    whole = [(0, 0)] if plan.full is not None or (0, 0) in plan.depths else []
    found = [*whole, *plan.depths]
    if plan.students:
        found = [pair for k, n in found for pair in ([(k, n), (0, k)] if k else [(k, n)])]
    return list(dict.fromkeys(found))


def _folder(late: int, student: int, seed: int) -> str:
    if late and student:
        return f"layers-{late}-of-{student}-{seed}"
    return f"student-{student}-{seed}" if student else f"layers-{late}-{seed}" if late else f"full-{seed}"


def _settings(config: RunConfig, late: int, student: int, plan: DepthPlan, own_full: Path) -> RunConfig:
    """The settings of one point."""
    changed: dict[str, Any] = {"late_layers": late, "student_layers": student}
    if not late and not student:
        changed |= {"teacher": None, "init": "fitted" if config.tuning.init == "teacher" else config.tuning.init}
        if plan.full is not None:
            own = read_manifest(_pack_of(plan.full)).tuning
            return config.model_copy(update={"tuning": own.model_copy(update={"teacher": None})})
    elif plan.teach:
        changed["teacher"] = str(own_full if plan.full is None else _pack_of(plan.full))
    if config.tuning.adapter_layers == "late" and not late:
        changed["adapter_layers"] = None
    return config.model_copy(update={"tuning": config.tuning.model_copy(update=changed)})


def _pack_of(folder: Path) -> Path:
    return folder / PACK if (folder / PACK).is_dir() else folder


def _point(
    bench: _Bench, config: RunConfig, folder: Path, full: NDArray[np.float64] | None
) -> tuple[Point, NDArray[np.float64]]:
    """A point with its test scores [n]: from its folder where it is done, or tuned and measured."""
    mark = _mark(config, bench.plan)
    known = _known(folder, mark) if bench.plan.resume else None
    if known is not None:
        bench.say(f"{folder.name}: done before")
        return known
    late, student = config.tuning.late_layers, config.tuning.student_layers
    given = bench.plan.full if not late and not student else None
    shown = bench.accelerator.is_main_process
    prepared = prepare(bench.task, config, bench.logs, bench.accelerator, Clock(), bench.say)
    rows = prepared.rows
    if not isinstance(rows, RunRows):
        raise ConfigError(f"task {bench.task.name} has no score per row, which this comparison needs")
    model = M6Rec(prepared.backbone, {bench.task.name: prepared.assembled.tuned})
    began = time.monotonic()
    attach_cache(prepared, model, shown, bench.say)
    if given is None:
        _tune(bench, prepared, model, folder, shown)
    else:
        _load(_pack_of(given), prepared)
        model.to(bench.accelerator.device)
    seconds = time.monotonic() - began
    scores = score_test(prepared, model, bench.accelerator, shown)[:, 0]
    found = interval_of(prepared, rows, scores)
    nothing: tuple[float | None, float | None, float | None] = (None, None, None)
    lost = nothing if full is None else _lost(prepared, rows, full, scores)
    point = Point(
        late, student, config.training.seed, prepared.assembled.plan.parameters, found.value, found.low, found.high,
        seconds, ask(prepared, model, rows, bench.plan.requests if late else bench.plan.full_requests),
        in_eight_bits(prepared, model, rows, bench.accelerator, shown) if bench.plan.eight_bit else None, *lost,
    )  # fmt: skip
    if bench.accelerator.is_main_process:
        with replacing(folder / SCORES) as partial, partial.open("wb") as stream:
            np.save(stream, scores)
        write_json(folder / POINT, {"settings": mark, **asdict(point)})
    return point, scores


def _tune(bench: _Bench, prepared: Prepared, model: M6Rec, folder: Path, shown: bool) -> None:
    """Tune, or go on with it, and write the pack, which a teacher is read from."""
    attach_teacher(prepared, model, bench.accelerator, shown, bench.say)
    resumed = bench.plan.resume and bool(checkpoints(folder / FOLDER))
    if not bench.plan.resume and (folder / HISTORY).exists():
        raise RunError(f"{folder} already holds a point: go on with --resume, or choose another --output")
    if not resumed:
        fit_start(prepared, model, bench.accelerator, shown)
    result = tune(prepared, model, bench.accelerator, folder, resume=bench.plan.resume, shown=shown)
    round_to_pack(model.tunings, model.heads)
    if bench.accelerator.is_main_process:
        metrics = record(prepared, result, {}, {})
        record_pack(folder / PACK, prepared, model, metrics)
    bench.accelerator.wait_for_everyone()


def _load(path: Path, prepared: Prepared) -> None:
    """Take the tuned parts of a full model from its pack. Raises ConfigError when it was tuned with other settings."""
    manifest = read_manifest(path)
    own = prepared.assembled.tuned.config.model_dump(mode="json")
    other = [name for name, value in own.items() if finite(manifest.settings.get(name)) != finite(value)]
    if manifest.task != prepared.task.name or other:
        what = f"settings.{other[0]}" if other else f"the task {manifest.task}"
        raise ConfigError(f"--full {path} was tuned with another {what}: give the same --set, or tune it here")
    load_state(path, prepared.assembled.tuned.tuning, prepared.assembled.tuned.head)


def _mark(config: RunConfig, plan: DepthPlan) -> str:
    """A digest of what a point's result depends on."""
    others = [plan.full, None if config.tuning.teacher is None else Path(config.tuning.teacher)]
    given = [read_manifest(_pack_of(path)).tensors_sha256 for path in others if path is not None]
    what = [config.model_dump_json(), str(plan.requests), str(plan.full_requests), str(plan.eight_bit), *given]
    return sha256("\n".join(what).encode()).hexdigest()


def _known(folder: Path, mark: str) -> tuple[Point, NDArray[np.float64]] | None:
    """A point that was done before, with its test scores. Raises RunError when it had other settings."""
    try:
        values = json.loads((folder / POINT).read_text(encoding="utf-8"))
        scores: NDArray[np.float64] = np.load(folder / SCORES)
    except (OSError, ValueError):
        return None
    if values.pop("settings") != mark:
        raise RunError(f"{folder} holds a point of other settings: choose another --output, or remove it")
    eight_bit = values.pop("eight_bit")
    asked = Asked(**values.pop("asked"))
    return Point(**values, asked=asked, eight_bit=None if eight_bit is None else EightBit(**eight_bit)), scores


def _lost(
    prepared: Prepared, rows: RunRows, full: NDArray[np.float64], scores: NDArray[np.float64]
) -> tuple[float, float, float]:
    """By how much the first metric of `scores` is worse than that of `full`, and its 95 % interval."""
    metric, test = METRICS[prepared.task.manifest.metrics[0]], rows.rows["test"]
    label, user = rows.table.label[test], rows.table.user[test]
    first, second = (MetricInput(label, one, one, user) for one in (full, scores))
    better, worse = (first, second) if metric.higher_is_better else (second, first)
    plan = Bootstrap(resamples=prepared.config.evaluation.bootstrap)
    found = paired_difference(metric, better, worse, plan=plan)
    return found.value, found.low, found.high


def _line(point: Point, metric: str) -> str:
    lost = "" if point.lost is None else f", lost {point.lost:+.4f} [{point.lost_low:+.4f}, {point.lost_high:+.4f}]"
    return f"{point.name}, seed {point.seed}: {metric} {point.value:.4f}{lost}, p50 {point.asked.p50_ms:.0f} ms"


def _write(bench: _Bench, points: Sequence[Point]) -> None:
    """The table and the picture so far."""
    if not bench.accelerator.is_main_process:
        return
    metric = bench.task.manifest.metrics[0]
    write_json(bench.output / TABLE, {"metric": metric, "points": [asdict(point) for point in points]})
    draw(points, metric, bench.output / FIGURE)
