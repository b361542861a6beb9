"""`m6rec bench`: comparisons that answer a question of the paper with a table and a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from m6rec_core.config import Mode
    from m6rec_core.runs.modes import ModeCurve


@click.group()
def bench() -> None:
    """Repeat comparisons of the paper."""


@bench.command()
@click.option("--task", "task_name", default="ctr", show_default=True, help="Name of an installed task.")
@click.option("--data", help="Name of a known data set, or a folder. Default: the task's own.")
@click.option("--backbone", help="Known name, folder, or hub id. Default: smollm2-135m.")
@click.option("--steps", type=click.IntRange(min=1), default=60, show_default=True, help="Steps of each mode.")
@click.option("--mode", "modes", multiple=True, help="Only these modes (repeat the option). Default: all five.")
@click.option("--seeds", default="0", show_default=True, help="Seeds, joined by commas: mean and range are shown.")
@click.option("--lr", "rates", multiple=True, metavar="MODE=VALUE", help="Learning rate of all that trains in a mode.")
@click.option("--set", "assignments", multiple=True, metavar="NAME=VALUE", help="Any setting, as in m6rec run.")
@click.option("--output", type=click.Path(path_type=Path), help="Folder. Default: runs/modes-<task>-<data>-<number>.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of the table.")
def modes(  # noqa: PLR0913, PLR0917 - one parameter per option
    task_name: str,
    data: str | None,
    backbone: str | None,
    steps: int,
    modes: tuple[str, ...],
    seeds: str,
    rates: tuple[str, ...],
    assignments: tuple[str, ...],
    output: Path | None,
    as_json: bool,
) -> None:
    """Tune the same rows in each tuning mode, at equal steps (paper Fig. 8)."""
    from m6rec_core.logs.datasets import locate
    from m6rec_core.logs.reading import read_logs
    from m6rec_core.registry import load_task
    from m6rec_core.runs.files import choose_output
    from m6rec_core.runs.modes import ModePlan, compare_modes
    from m6rec_core.runs.progress import say_line
    from m6rec_core.runs.settings import parse_assignments, resolve
    from m6rec_core.training.accelerator import make_accelerator

    plan = ModePlan(_picked(modes, "--mode"), _seeds(seeds), _rates(rates))
    task = load_task(task_name)
    source = data or task.manifest.default_data
    chosen = choose_output(output, f"modes-{task_name}-{Path(source).resolve().name}", resume=False)
    logs = read_logs(locate(source))
    asked: dict[str, Any] = {
        "task": task_name,
        "data": source,
        "tuning": {"init": "informed"},
        "training": {"max_steps": steps, "epochs": 1000},
    }
    if backbone:
        asked["backbone"] = backbone
    config = resolve(task.manifest, [asked, parse_assignments(assignments)], logs.domain)
    accelerator = make_accelerator(config.training, chosen)
    curves = compare_modes(task, config, logs, accelerator, chosen, plan, say_line)
    if accelerator.is_main_process:
        _tell(curves, task.manifest.metrics[0], chosen, as_json)


def _picked(names: Sequence[str], option: str) -> tuple[Mode, ...]:
    """The modes of that name in the paper's order, all of them for none."""
    from m6rec_core.errors import ConfigError
    from m6rec_core.runs.modes import ALL_MODES

    wrong = [name for name in names if name not in ALL_MODES]
    if wrong:
        raise ConfigError(f"{option} {wrong[0]!r}: there is no such tuning mode (there are: {', '.join(ALL_MODES)})")
    return tuple(mode for mode in ALL_MODES if not names or mode in names)


def _seeds(text: str) -> tuple[int, ...]:
    from m6rec_core.errors import ConfigError

    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() for part in parts) or len(set(parts)) < len(parts):
        raise ConfigError(f"--seeds {text!r}: write different whole numbers joined by commas, such as 0,1,2")
    return tuple(map(int, parts))


def _rates(pairs: Sequence[str]) -> dict[str, float]:
    from m6rec_core.errors import ConfigError

    rates = {}
    for pair in pairs:
        mode, _, text = pair.partition("=")
        _picked((mode,), "--lr")
        try:
            rates[mode] = float(text)
        except ValueError:
            rates[mode] = 0.0
        if not 0.0 < rates[mode] < 1e3:
            raise ConfigError(f"--lr {pair!r}: write a mode and a number above 0, such as option=0.001")
    return rates


def _tell(curves: Sequence[ModeCurve], metric: str, output: Path, as_json: bool) -> None:
    from m6rec_core.runs.modes import FIGURE, TABLE, mode_table
    from m6rec_core.runs.report import print_table

    if as_json:
        click.echo((output / TABLE).read_text(encoding="utf-8"))
        return
    titles, rows = mode_table(curves, metric)
    print_table(titles, rows, "tuning modes at equal steps")
    click.echo(f"picture: {output / FIGURE}")


DEPTHS = ("0", "3", "6", "10", "15")
"""What `bench late` compares unless told."""


@bench.command()
@click.option("--task", "task_name", default="ctr", show_default=True, help="Name of an installed task.")
@click.option("--data", help="Name of a known data set, or a folder. Default: the task's own.")
@click.option("--backbone", help="Known name, folder, or hub id. Default: smollm2-135m.")
@click.option(
    "--layers", "depths", multiple=True, metavar="K|K/N",
    help="Numbers of upper layers (repeat the option), of all or of the first N; 0 is the full model. "
    "Default: 0, 3, 6, 10, 15.",
)  # fmt: skip
@click.option("--student", "students", is_flag=True, help="Beside each K, a student of the backbone's first K layers.")
@click.option("--full", type=click.Path(path_type=Path), help="Run or pack of a full model, instead of tuning one.")
@click.option("--teach", is_flag=True, help="The full model teaches all others (its states and choices).")
@click.option("--seeds", default="0", show_default=True, help="Seeds, joined by commas: each point is tuned from each.")
@click.option(
    "--requests", type=click.IntRange(min=1), default=1000, show_default=True, help="Requests that are timed."
)
@click.option(
    "--full-requests", type=click.IntRange(min=1), default=100, show_default=True,
    help="Requests that are timed without late interaction.",
)  # fmt: skip
@click.option("--eight-bit/--no-eight-bit", default=True, help="Score the test rows from states in 8 bits too.")
@click.option("--set", "assignments", multiple=True, metavar="NAME=VALUE", help="Any setting, as in m6rec run.")
@click.option("--output", type=click.Path(path_type=Path), help="Folder. Default: runs/late-<task>-<data>-<number>.")
@click.option("--resume", is_flag=True, help="Go on: points that are done are kept, others and new ones are done.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of the table.")
def late(  # noqa: PLR0913, PLR0917 - one parameter per option
    task_name: str,
    data: str | None,
    backbone: str | None,
    depths: tuple[str, ...],
    students: bool,
    full: Path | None,
    teach: bool,
    seeds: str,
    requests: int,
    full_requests: int,
    eight_bit: bool,
    assignments: tuple[str, ...],
    output: Path | None,
    resume: bool,
    as_json: bool,
) -> None:
    """Tune the same rows with late interaction at several depths: AUC against latency (paper Table 6)."""
    from m6rec_core.logs.datasets import locate
    from m6rec_core.logs.reading import read_logs
    from m6rec_core.registry import load_task
    from m6rec_core.runs.depth_report import depth_table
    from m6rec_core.runs.depths import FIGURE, TABLE, DepthPlan, compare_depths
    from m6rec_core.runs.files import CONFIG, choose_output, write_text
    from m6rec_core.runs.progress import say_line
    from m6rec_core.runs.report import print_table
    from m6rec_core.runs.settings import parse_assignments, parse_depth, resolve, to_yaml
    from m6rec_core.training.accelerator import make_accelerator

    plan = DepthPlan(
        [parse_depth("--layers", text) for text in depths or DEPTHS],
        students,
        _seeds(seeds),
        full,
        teach,
        requests,
        full_requests,
        eight_bit,
        resume,
    )
    task = load_task(task_name)
    source = data or task.manifest.default_data
    chosen = choose_output(output, f"late-{task_name}-{Path(source).resolve().name}", resume)
    logs = read_logs(locate(source))
    asked: dict[str, Any] = {"task": task_name, "data": source}
    if backbone is not None:
        asked["backbone"] = backbone
    if teach:
        asked["tuning"] = {"teacher": str(full or chosen)}  # each point names its own
    config = resolve(task.manifest, [asked, parse_assignments(assignments)], logs.domain)
    write_text(chosen / CONFIG, to_yaml(config))
    accelerator = make_accelerator(config.training, chosen)
    found = compare_depths(task, config, logs, accelerator, chosen, plan, say_line)
    if as_json:
        click.echo((chosen / TABLE).read_text(encoding="utf-8"))
        return
    titles, rows = depth_table(found, task.manifest.metrics[0])
    print_table(titles, rows, "late interaction by depth")
    click.echo(f"picture: {chosen / FIGURE}")
