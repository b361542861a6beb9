"""`m6rec run`."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from accelerate import Accelerator

    from m6rec_core.registry import Task


@click.command()
@click.option("--task", "task_name", required=True, help="Name of an installed task (m6rec tasks).")
@click.option(
    "--data", help="Name of a known data set, or a folder with users, items and events. Default: the task's own."
)
@click.option("--backbone", help="Known name, folder, or hub id. Default: smollm2-135m.")
@click.option(
    "--tuning",
    type=click.Choice(["fine-tuning", "adapter", "prompt", "option", "option-adapter"]),
    help="What trains. Default: option-adapter.",
)
@click.option(
    "--late-layers",
    metavar="K|K/N",
    help="Late interaction: only the upper K layers, of all or of the first N, see rows.",
)
@click.option("--shots", metavar="N|all", help="Number of training rows.")
@click.option("--set", "assignments", multiple=True, metavar="NAME=VALUE", help="Any setting, e.g. training.lr=0.001.")
@click.option(
    "--config", "config_file", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="YAML settings."
)
@click.option(
    "--num-processes", type=click.IntRange(min=1), help="Processes to run on (default: your accelerate config, or 1)."
)
@click.option(
    "--output", type=click.Path(path_type=Path), help="Folder of the run. Default: runs/<task>-<data>-<number>."
)
@click.option("--resume", is_flag=True, help="Go on with an interrupted run.")
@click.option("--json", "as_json", is_flag=True, help="Print metrics.json instead of the table.")
def run(  # noqa: PLR0913, PLR0917 - one parameter per option
    task_name: str,
    data: str | None,
    backbone: str | None,
    tuning: str | None,
    late_layers: str | None,
    shots: str | None,
    assignments: tuple[str, ...],
    config_file: Path | None,
    num_processes: int | None,
    output: Path | None,
    resume: bool,
    as_json: bool,
) -> None:
    """Tune a backbone on a task, score the test rows, and compare with the baselines on the same rows."""
    from m6rec_core.cli.launch import relaunch_if_needed

    asked = _asked(task_name, data, backbone, tuning, shots)
    if late_layers is not None:
        asked.setdefault("tuning", {}).update(_depth(late_layers))
    try:
        code = relaunch_if_needed(sys.argv[1:], num_processes)
        if code is None:
            _run_here(task_name, asked, assignments, config_file, output, resume, as_json)
        elif code:
            sys.exit(code)
    except KeyboardInterrupt as error:
        raise KeyboardInterrupt("give the same command with --resume to go on from the last checkpoint") from error


def _depth(text: str) -> dict[str, int]:
    from m6rec_core.runs.settings import parse_depth

    upper, used = parse_depth("--late-layers", text)
    return {"late_layers": upper, "student_layers": used} if used else {"late_layers": upper}


def _asked(task: str, data: str | None, backbone: str | None, tuning: str | None, shots: str | None) -> dict[str, Any]:
    """The options as a layer of settings."""
    layer: dict[str, Any] = {"task": task}
    if data is not None:
        layer["data"] = data
    if backbone is not None:
        layer["backbone"] = backbone
    if tuning is not None:
        layer["tuning"] = {"mode": tuning}
    if shots is not None:
        if shots != "all" and not shots.isdigit():
            raise click.BadParameter(f"{shots!r} is neither a number nor 'all'", param_hint="--shots")
        layer["shots"] = shots if shots == "all" else int(shots)
    return layer


def _run_here(
    task_name: str,
    asked: dict[str, Any],
    assignments: tuple[str, ...],
    config_file: Path | None,
    output: Path | None,
    resume: bool,
    as_json: bool,
) -> None:
    """Run in this process, which may be one of a group."""
    from m6rec_core.cli.launch import check_group
    from m6rec_core.registry import load_task
    from m6rec_core.runs.files import CONFIG, choose_output, finite
    from m6rec_core.runs.settings import parse_assignments, read_config, resolve
    from m6rec_core.serving.processes import group_size
    from m6rec_core.text.domains import PRODUCTS

    task = load_task(task_name)
    layers = [read_config(config_file) if config_file else {}, parse_assignments(assignments), asked]
    chosen = choose_output(output, f"{task_name}-{Path(_source(task, layers)).resolve().name}", resume)
    if resume and (chosen / CONFIG).is_file():
        layers.insert(0, read_config(chosen / CONFIG))
    source = _source(task, layers)
    layers.insert(0, {"data": source})
    early = resolve(task.manifest, layers, PRODUCTS)  # a wrong setting shows before anything is fetched

    from m6rec_core.runs.data import open_data
    from m6rec_core.runs.found import Clock
    from m6rec_core.runs.pipeline import run as run_stages
    from m6rec_core.runs.pipeline import show
    from m6rec_core.training.accelerator import make_accelerator

    accelerator = make_accelerator(early.training, chosen)
    check_group(accelerator.num_processes, group_size(os.environ))
    chosen, clock = _agree(accelerator, chosen), Clock()
    with clock.stage("data"), accelerator.main_process_first():  # the main one fetches and prepares a known data set
        found = open_data(source, progress=not as_json)
    config = resolve(task.manifest, layers, found.domain)
    outcome = run_stages(task, config, found, accelerator, chosen, resume, clock, quiet=as_json)
    if outcome is None:
        return
    if as_json:
        click.echo(json.dumps(finite(dict(outcome.metrics)), indent=2))
    else:
        show(outcome)


def _source(task: Task, layers: Sequence[dict[str, Any]]) -> str:
    """The data set that the layers of settings name, the last one first, or the task's own."""
    named = [layer["data"] for layer in layers if "data" in layer]
    return str(named[-1]) if named else task.manifest.default_data


def _agree(accelerator: Accelerator, output: Path) -> Path:
    """All ranks write about the same folder: the main process's choice."""
    from accelerate.utils import broadcast_object_list

    if accelerator.num_processes == 1:
        return output
    return Path(broadcast_object_list([str(output)])[0])
