"""`m6rec explain-sample`: one sample exactly as the model sees it."""

from __future__ import annotations

import dataclasses
import difflib
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from m6rec_core.errors import DataError

if TYPE_CHECKING:
    from m6rec_core.config import TaskConfig
    from m6rec_core.logs.samples import SampleTable
    from m6rec_core.registry import Task
    from m6rec_core.runs.data import RunData
    from m6rec_core.runs.explain import Explanation, RowView
    from m6rec_core.types import Sample

SEGMENTS = ("segment", "region", "droppable", "cacheable", "scored", "tokens", "text")
TOKENS = ("position", "id", "token", "kind", "region", "segment", "in segment", "role")


@click.command("explain-sample")
@click.option("--task", "task_name", required=True, help="Name of an installed task (m6rec tasks).")
@click.option("--data", help="Name of a known data set, or a folder of logs. Default: the task's own.")
@click.option(
    "--split", type=click.Choice(["test", "valid", "train"]), help="Part that --row counts in. Default: test."
)
@click.option("--row", type=click.IntRange(min=0), help="Which sample of the part, in time order, from 0. Default: 0.")
@click.option("--id", "sample_id", help="Id of a sample, in place of --row.")
@click.option("--pack", type=click.Path(path_type=Path), help="Task pack whose settings and prompts to use.")
@click.option("--set", "assignments", multiple=True, metavar="NAME=VALUE", help="Any setting, when no pack is given.")
@click.option("--backbone", help="Known name, folder, or hub id. Default: the pack's, or smollm2-135m.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")
def explain_sample(  # noqa: PLR0913, PLR0917 - one parameter per option
    task_name: str,
    data: str | None,
    split: str | None,
    row: int | None,
    sample_id: str | None,
    pack: Path | None,
    assignments: tuple[str, ...],
    backbone: str | None,
    as_json: bool,
) -> None:
    """Print one sample: its fields, its text by segments, and every token the model reads, markers and prompts too."""
    if sample_id is not None and (row is not None or split is not None):
        raise click.UsageError("--id names the sample already: leave --row and --split out")
    if pack is not None and assignments:
        raise click.UsageError("--set changes the settings of a run; a pack has its own")

    from m6rec_core.registry import load_task
    from m6rec_core.runs.data import open_data
    from m6rec_core.runs.explain import explain

    task = load_task(task_name)
    layers = _layers(task, task_name, data, backbone, assignments)
    logs = open_data(str(layers[-1]["data"]), progress=not as_json)
    if pack is not None:
        assembled, loaded = _from_pack(pack, task_name, backbone)
    else:
        assembled, loaded = _from_settings(task, layers, logs)
    sample = _sample(task, assembled.tuned.config, logs, split or "test", row or 0, sample_id)
    found = explain(sample, assembled, loaded)
    if as_json:
        click.echo(json.dumps(dataclasses.asdict(found), indent=2, ensure_ascii=False))
    else:
        _print(found)


def _layers(
    task: Task, name: str, data: str | None, backbone: str | None, assignments: Sequence[str]
) -> list[dict[str, Any]]:
    """The settings that were asked for, checked before anything is fetched; the last layer names the data."""
    from m6rec_core.runs.settings import parse_assignments, resolve
    from m6rec_core.text.domains import PRODUCTS

    given = parse_assignments(assignments)
    last: dict[str, Any] = {"task": name, "data": data or given.get("data") or task.manifest.default_data}
    if backbone is not None:
        last["backbone"] = backbone
    layers = [given, last]
    resolve(task.manifest, layers, PRODUCTS)
    return layers


def _from_settings(task: Task, layers: Sequence[dict[str, Any]], logs: RunData) -> tuple[Any, Any]:
    """A fresh task, as a run with these settings starts it."""
    import torch

    from m6rec_core.assemble import assemble
    from m6rec_core.backbone.load import load_backbone
    from m6rec_core.runs.progress import say_line
    from m6rec_core.runs.settings import resolve

    config = resolve(task.manifest, layers, logs.domain)
    loaded = load_backbone(config.backbone, torch.float32, say=say_line)
    return assemble(task, config.settings, config.tuning, loaded, config.training.seed), loaded


def _from_pack(pack: Path, task_name: str, backbone: str | None) -> tuple[Any, Any]:
    from m6rec_core.runs.progress import say_line
    from m6rec_core.serving.opening import open_pack

    opened = open_pack(pack, backbone, None, say_line, task=task_name)
    return opened.assembled, opened.backbone


def _sample(task: Task, settings: TaskConfig, data: RunData, split: str, row: int, sample_id: str | None) -> Sample:
    """The sample that was asked for."""
    from m6rec_core.logs.schema import Logs
    from m6rec_core.runs.data import derive_samples, own_parts

    if isinstance(data, Logs) and task.manifest.derive is None:
        table = derive_samples(task, settings, data)
        return table.sample(_index(table, split, row, sample_id))
    parts = own_parts(task, settings, data, seed=0)
    if sample_id is None:
        if row >= len(parts[split]):
            raise DataError(f"--row {row}: the {split} part has {len(parts[split]):,} samples, counted from 0")
        return parts[split][row]
    everyone = {sample.id: sample for samples in parts.values() for sample in samples}
    if sample_id in everyone:
        return everyone[sample_id]
    near = difflib.get_close_matches(sample_id, list(everyone)[:20_000], 1) or list(everyone)[:1]
    raise DataError(f"--id {sample_id!r}: there is no such sample; an id looks like {near[0]!r}")


def _index(table: SampleTable, split: str, row: int, sample_id: str | None) -> int:
    """The row of the table that was asked for."""
    if sample_id is None:
        rows = table.splits[split]
        if row >= len(rows):
            raise DataError(f"--row {row}: the {split} part has {len(rows):,} samples, 0 to {len(rows) - 1}")
        return int(rows[row])
    ids = [table.sample_id(index) for index in range(len(table))]
    if sample_id in ids:
        return ids.index(sample_id)
    near = difflib.get_close_matches(sample_id, ids[:20_000], 1) or ids[:1]
    raise DataError(f"--id {sample_id!r}: there is no such sample; an id is USER:ITEM:ROW, such as {near[0]!r}")


def _print(found: Explanation) -> None:
    sample = found.sample
    history = sample.pop("history", None)
    facts = {name: _value(value) for name, value in sample.items()}
    if history is not None:
        facts["history"] = f"{len(history)} events"
    for name, value in (*facts.items(), *((k.replace("_", " "), _value(v)) for k, v in found.sizes.items())):
        click.echo(f"{name + ':':<18}{value}")
    for number, row in enumerate(found.rows):
        title = f"text row {number + 1} of {len(found.rows)}, markers {'on' if row.markers else 'off'}, "
        click.echo("")
        _table(title + f"the head reads the {row.read_out}", SEGMENTS, _segment_rows(row))
        click.echo("")
        _table("tokens", TOKENS, _token_rows(row))


def _value(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _segment_rows(row: RowView) -> list[tuple[str, ...]]:
    return [
        (
            str(s.number),
            s.region,
            "dropped" if s.dropped else _yes(s.droppable),
            _yes(s.cacheable),
            _yes(s.scored),
            str(s.tokens),
            json.dumps(s.text, ensure_ascii=False),
        )
        for s in row.segments
    ]


def _token_rows(row: RowView) -> list[tuple[str, ...]]:
    return [
        (
            str(t.position),
            "" if t.kind in ("prompt", "option") else str(t.id),
            t.piece if t.kind != "text" else json.dumps(t.piece, ensure_ascii=False),
            f"option{t.answer}" if t.kind == "option" else t.kind,
            t.region,
            "" if t.segment is None else str(t.segment),
            str(t.offset),
            t.role,
        )
        for t in row.tokens
    ]


def _yes(value: bool) -> str:
    return "yes" if value else ""


def _table(title: str, titles: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A rich table on a terminal, columns of plain text when piped."""
    if not sys.stdout.isatty():
        from m6rec_core.runs.report import plain_table

        click.echo(f"{title}\n{plain_table(titles, rows)}")
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(*titles, title=escape(title), title_justify="left")
    for row in rows:
        table.add_row(*map(escape, row), style="bold" if row[-1] == "read out" else None)
    Console().print(table)
