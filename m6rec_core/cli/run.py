"""`m6rec run`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click


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
def run(
    task_name: str,
    data: str | None,
    backbone: str | None,
    tuning: str | None,
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
    code = relaunch_if_needed(sys.argv[1:], num_processes)
    if code is not None:
        if code:
            sys.exit(code)
        return
    _run_here(task_name, asked, assignments, config_file, output, resume, as_json)


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
    from m6rec_core.registry import load_task
    from m6rec_core.runs.settings import merge, parse_assignments, read_config, resolve

    task = load_task(task_name)
    file = read_config(config_file) if config_file else {}
    given = [file, parse_assignments(assignments), asked]
    source = merge({"data": task.manifest.default_data}, merge(file, asked))["data"]

    import json

    from m6rec_core.logs.datasets import locate
    from m6rec_core.logs.reading import read_logs
    from m6rec_core.runs.files import choose_output
    from m6rec_core.runs.pipeline import Clock, show
    from m6rec_core.runs.pipeline import run as run_stages
    from m6rec_core.training.accelerator import make_accelerator

    clock = Clock()
    label = f"{task_name}-{Path(str(source)).name}"
    chosen = choose_output(output, label, resume)
    with clock.stage("data"):
        folder = locate(str(source))
        logs = read_logs(folder)
    config = resolve(task.manifest, [{"data": source}, *given], logs.domain)
    accelerator = make_accelerator(config.training, chosen)
    chosen = _agree(accelerator, chosen)
    outcome = run_stages(task, config, logs, accelerator, chosen, resume, clock, quiet=as_json)
    if outcome is None:
        return
    if as_json:
        click.echo(json.dumps(_json(outcome.metrics), indent=2))
    else:
        show(outcome)


def _json(metrics: Any) -> Any:
    from m6rec_core.runs.files import finite

    return finite(dict(metrics))


def _agree(accelerator: Any, output: Path) -> Path:
    """All ranks write about the same folder: the main process's choice."""
    from accelerate.utils import broadcast_object_list

    if accelerator.num_processes == 1:
        return output
    return Path(broadcast_object_list([str(output)])[0])
