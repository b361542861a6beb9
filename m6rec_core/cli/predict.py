"""`m6rec predict` and `m6rec evaluate`."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from m6rec_core.errors import DataError

if TYPE_CHECKING:
    from m6rec_core.logs.sample_files import Placed
    from m6rec_core.runs.compare import Comparison
    from m6rec_core.runs.data import RunData
    from m6rec_core.runs.found import Clock
    from m6rec_core.serving.opening import Opened
    from m6rec_core.types import Sample

FILE = click.Path(path_type=Path)
SPLITS = click.Choice(["test", "valid", "train"])
FORMATS = click.Choice(["auto", "bf16", "fp32", "fp64"])
SHOWN = 5
"""Bad rows told one by one; the rest is counted."""


class _Skipped:
    """Counts the bad rows that were passed over and tells the first few."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, error: DataError) -> None:
        """Take note of one bad row."""
        self.count += 1
        if self.count <= SHOWN:
            click.echo(f"skipped: {error}", err=True)

    def report(self) -> None:
        """Say how many there were."""
        if self.count:
            click.echo(f"skipped {self.count:,} bad rows", err=True)


@click.command()
@click.option("--pack", type=FILE, required=True, help="Task pack: the folder `pack` of a run.")
@click.option("--input", "source", type=FILE, help="Samples of the task, .jsonl or .parquet.")
@click.option("--data", help="Name of a known data set, or a folder of logs, in place of --input.")
@click.option("--split", type=SPLITS, help="Which part of --data. Default: test.")
@click.option("--output", type=FILE, required=True, help="Predictions, .jsonl or .parquet.")
@click.option("--force", is_flag=True, help="Replace an --output that exists.")
@click.option("--skip-bad", is_flag=True, help="Leave bad rows of --input out, and say how many.")
@click.option("--backbone", help="Known name, folder, or hub id. Default: the one the pack names.")
@click.option("--precision", type=FORMATS, help="Number format. Default: that of the tuning.")
@click.option("--json", "as_json", is_flag=True, help="Print counts as a JSON object, and no progress.")
def predict(  # noqa: PLR0913, PLR0917 - one parameter per option
    pack: Path,
    source: Path | None,
    data: str | None,
    split: str | None,
    output: Path,
    force: bool,
    skip_bad: bool,
    backbone: str | None,
    precision: str | None,
    as_json: bool,
) -> None:
    """Score samples with a tuned task pack; predictions come in the order of the samples."""
    if (source is None) == (data is None):
        raise click.UsageError("give either --input FILE or --data NAME|DIR")
    if source is not None and split is not None:
        raise click.UsageError("--split belongs to --data; an --input is scored as a whole")

    from m6rec_core.runs.predict import check_output
    from m6rec_core.runs.predict import predict as run
    from m6rec_core.runs.progress import counting, say_line
    from m6rec_core.serving.opening import open_pack

    check_output(output, source, force)
    skipped = _Skipped()
    on_bad = skipped if skip_bad else None
    total = _count(source) if source is not None else 0
    opened = open_pack(pack, backbone, precision, (lambda _line: None) if as_json else say_line)
    began = time.monotonic()
    samples: Iterable[Placed[Sample]]
    if source is not None:
        from m6rec_core.logs.sample_files import read_sample_file

        samples = read_sample_file(source, opened.task.manifest.sample, on_bad)
    else:
        samples = _derived(opened, _data(str(data), as_json), split or "test", as_json)
        total = len(samples)
    with counting("scoring samples", total, not as_json) as tick:
        counts = run(opened, samples, output, on_bad, tick)
    if as_json:
        found = {"output": str(output), "skipped": skipped.count, **dataclasses.asdict(counts)}
        click.echo(json.dumps({**found, "seconds": round(time.monotonic() - began, 2)}))
        return
    skipped.report()
    cut = f", {counts.truncated_rows:,} with history cut to the length limit" if counts.truncated_rows else ""
    click.echo(f"{output}: {counts.predictions:,} predictions{cut}")


@click.command()
@click.option("--pack", type=FILE, help="Task pack: the folder `pack` of a run.")
@click.option("--data", help="Name of a known data set, or a folder of logs, to score with --pack.")
@click.option("--split", type=SPLITS, help="Which part of --data. Default: test.")
@click.option("--rows", type=click.IntRange(min=1), help="Score at most so many rows. Default: all.")
@click.option("--predictions", type=FILE, help="The predictions.parquet of a run, in place of --pack and --data.")
@click.option("--backbone", help="Known name, folder, or hub id. Default: the one the pack names.")
@click.option("--precision", type=FORMATS, help="Number format. Default: that of the tuning.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of the table.")
def evaluate(
    pack: Path | None,
    data: str | None,
    split: str | None,
    rows: int | None,
    predictions: Path | None,
    backbone: str | None,
    precision: str | None,
    as_json: bool,
) -> None:
    """Compare a task pack with the trivial baselines on logs, or make the table of a predictions file again."""
    scored = (pack, data, split, rows, backbone, precision)
    if predictions is not None:
        if any(value is not None for value in scored):
            raise click.UsageError("--predictions holds the scores already: it goes with no option but --json")
        _recompute(predictions, as_json)
        return
    if pack is None or data is None:
        raise click.UsageError("give --pack DIR and --data NAME|DIR, or --predictions FILE")

    from m6rec_core.logs.schema import Logs
    from m6rec_core.runs.evaluate import evaluate_pack
    from m6rec_core.runs.found import Clock
    from m6rec_core.runs.progress import say_line
    from m6rec_core.serving.opening import open_pack

    clock = Clock()
    with clock.stage("data"):
        logs = _data(data, as_json)
    with clock.stage("pack"):
        opened = open_pack(pack, backbone, precision, (lambda _line: None) if as_json else say_line)
        _other_domain(opened, logs, as_json)
    if opened.task.manifest.evaluation is not None:
        _report(opened, logs, data, split or "test", rows, clock, as_json)
        return
    if not isinstance(logs, Logs):
        raise DataError(f"{data}: task {opened.task.name} is evaluated on logs; use m6rec predict for sample files")
    with clock.stage("score"):
        found = evaluate_pack(opened, logs, split or "test", rows, shown=not as_json)
    protocol = {**found.protocol, "data": data}
    facts = [
        ("protocol", f"{data}, {protocol['split']['kind']} split; {protocol['rows']:,} of {protocol['of']:,} "
         f"{protocol['part']} rows; baselines learn from {protocol['baselines_learn_from']:,} training rows"),
        ("pack", f"{pack}, task {opened.task.name}, backbone {opened.backbone.spec.name}"),
    ]  # fmt: skip
    answer = {"task": opened.task.name, "protocol": protocol, "comparison": found.comparison.as_json()}
    _print(found.comparison, facts, clock.stages, answer, as_json)


def _report(
    opened: Opened, data: RunData, name: str, split: str, rows: int | None, clock: Clock, as_json: bool
) -> None:
    """The task's own report on a part of the data."""
    from m6rec_core.runs.files import finite
    from m6rec_core.runs.report import print_tables
    from m6rec_core.runs.reported import report_pack

    with clock.stage("score"):
        report, used, of = report_pack(opened, data, split, rows, shown=not as_json)
    if as_json:
        answer = {"task": opened.task.name, "data": name, "part": split, "rows": used, "of": of}
        click.echo(json.dumps(finite({**answer, "report": dict(report.metrics)}), indent=2))
        return
    facts = [*report.facts, ("protocol", f"{name}; {used:,} of {of:,} {split} rows")]
    print_tables(report.tables, facts, clock.stages)


def _recompute(path: Path, as_json: bool) -> None:
    from m6rec_core.runs.predictions import compare_predictions

    card, comparison = compare_predictions(path)
    facts = [("protocol", f"the {comparison.counts['all'][0]:,} rows of {path}, task {card.task}")]
    _print(comparison, facts, {}, {"task": card.task, "comparison": comparison.as_json()}, as_json)


def _print(
    comparison: Comparison,
    facts: list[tuple[str, str]],
    stages: dict[str, float],
    answer: dict[str, Any],
    as_json: bool,
) -> None:
    from m6rec_core.runs.files import finite
    from m6rec_core.runs.report import comparison_table, print_tables

    if as_json:
        click.echo(json.dumps(finite(answer), indent=2))
    else:
        print_tables([comparison_table(comparison)], facts, stages)


def _count(source: Path) -> int:
    from m6rec_core.logs.sample_files import check_suffix, count_rows

    check_suffix(source, "--input")
    return count_rows(source)


def _data(name: str, quiet: bool) -> RunData:
    from m6rec_core.runs.data import open_data

    return open_data(name, progress=not quiet)


def _derived(opened: Opened, logs: RunData, split: str, quiet: bool) -> list[Placed[Sample]]:
    from m6rec_core.runs.predict import placed_samples

    _other_domain(opened, logs, quiet)
    return placed_samples(opened, logs, split)


def _other_domain(opened: Opened, logs: RunData, quiet: bool) -> None:
    """A pack speaks in the words it was tuned with, whatever domain the logs name: say so."""
    own = opened.assembled.tuned.config.domain
    if own is not None and own.name != logs.domain.name and not quiet:
        click.echo(
            f"note: the pack speaks of {own.name}, these logs are of the domain {logs.domain.name}: its words are kept",
            err=True,
        )
