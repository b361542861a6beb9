"""`m6rec predict`: samples in, predictions out, in the order of the samples, whole or not at all."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from m6rec_core.assemble import encode
from m6rec_core.errors import DataError, M6RecError, RunError
from m6rec_core.files import replacing
from m6rec_core.logs.sample_files import OnBad, Placed, check_suffix
from m6rec_core.logs.schema import Logs
from m6rec_core.runs.data import RunData, derive_samples, own_parts
from m6rec_core.runs.parquet_rows import ParquetRows
from m6rec_core.serving.opening import Opened, summary_int
from m6rec_core.serving.scoring import Tick
from m6rec_core.tokens.batching import Encoded
from m6rec_core.types import Prediction, Sample

CHUNK = 2048
"""Samples held in memory at a time; rows of one user that follow one another share their computation within it."""

Write = Callable[[Sequence[Prediction]], None]
Row = tuple[Placed[Sample], Encoded]


@dataclass(frozen=True, slots=True)
class Counts:
    """Predictions written, and how often the length budget cut a text row (by how many segments)."""

    predictions: int = 0
    truncated_rows: int = 0
    dropped_segments: int = 0


def check_output(path: Path, source: Path | None, force: bool) -> None:
    """Raise before any work is done: DataError for an unknown suffix, RunError for a file that is there already."""
    check_suffix(path, "--output")
    if path.is_dir():
        raise RunError(f"--output {path} is a folder; name a file in it")
    if source is not None and path.exists() and source.exists() and path.samefile(source):
        raise RunError(f"--output {path} is the input itself; choose another file")
    if path.exists() and not force:
        raise RunError(f"{path} exists already: choose another --output, or replace it with --force")


def placed_samples(opened: Opened, data: RunData, split: str) -> list[Placed[Sample]]:
    """The samples of a part of the data, in their order, as the pack's own settings derive them."""
    seed = summary_int(opened.manifest, "seed") or 0
    samples: Sequence[Sample]
    if isinstance(data, Logs) and opened.task.manifest.derive is None:
        table = derive_samples(opened.task, opened.settings, data)
        samples = table.samples(table.splits[split])
    else:
        samples = own_parts(opened.task, opened.settings, data, seed)[split]
    return [Placed(f"{data.source}, sample {sample.id}", sample) for sample in samples]


def predict(opened: Opened, source: Iterable[Placed[Sample]], output: Path, on_bad: OnBad | None, tick: Tick) -> Counts:
    """Score the samples and write the predictions to `output` (.jsonl or .parquet), complete or not at all.

    Raises DataError naming the place of the first sample that cannot be scored, unless `on_bad` takes it; and when none
    can be.
    """
    counts = Counts()
    rows = iter(source)
    with replacing(output) as partial, _writer(partial) as write:
        while chunk := list(islice(rows, CHUNK)):
            encoded, truncated, dropped = _encode(opened, chunk, on_bad)
            answers = _answer(opened, encoded, on_bad)
            write(answers)
            counts = Counts(
                counts.predictions + len(answers), counts.truncated_rows + truncated, counts.dropped_segments + dropped
            )
            tick(len(chunk))
        if not counts.predictions:
            raise DataError("not one sample could be scored, so nothing was written")
    return counts


def _encode(opened: Opened, chunk: Sequence[Placed[Sample]], on_bad: OnBad | None) -> tuple[list[Row], int, int]:
    """Serialise and encode one by one, so that a sample that cannot be is known by its place."""
    rows: list[Row] = []
    truncated = dropped = 0
    for placed in chunk:
        try:
            one = encode(opened.task.name, opened.assembled.tuned, [placed.sample], opened.backbone)
        except DataError as error:
            _refuse(placed, error, on_bad)
            continue
        rows.append((placed, one.samples[0]))
        truncated += one.truncated_rows
        dropped += one.dropped_segments
    return rows, truncated, dropped


def _answer(opened: Opened, rows: Sequence[Row], on_bad: OnBad | None) -> list[Prediction]:
    """Predictions of the rows in order. When the task refuses a batch, halves of it find the one to blame."""
    if not rows:
        return []
    try:
        return opened.answer([replace(encoded, index=index) for index, (_, encoded) in enumerate(rows)])
    except DataError as error:
        if len(rows) == 1:
            _refuse(rows[0][0], error, on_bad)
            return []
    half = len(rows) // 2
    return [*_answer(opened, rows[:half], on_bad), *_answer(opened, rows[half:], on_bad)]


def _refuse(placed: Placed[Sample], error: M6RecError, on_bad: OnBad | None) -> None:
    located = DataError(f"{placed.place}: {error}")
    if on_bad is None:
        raise located from error
    on_bad(located)


@contextmanager
def _writer(path: Path) -> Iterator[Write]:
    if path.suffix == ".jsonl":
        with path.open("w", encoding="utf-8", newline="\n") as file:
            yield lambda answers: file.writelines(answer.model_dump_json() + "\n" for answer in answers)
        return
    with ParquetRows(path) as write:
        yield lambda answers: write([answer.model_dump(mode="json") for answer in answers])
