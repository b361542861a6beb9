"""Samples in a file of either format, row by row with the place of each, for those who score them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic

from pydantic import ValidationError

from m6rec_core.errors import DataError
from m6rec_core.logs.jsonl import SampleT, check_history, described, parse_line

SUFFIXES = (".jsonl", ".parquet")
OnBad = Callable[[DataError], None]
"""Told of each bad row that is passed over; None in its place stops at the first."""


@dataclass(frozen=True, slots=True)
class Placed(Generic[SampleT]):
    """A sample and where it stands, "samples.jsonl, line 3"."""

    place: str
    sample: SampleT


def check_suffix(path: Path, option: str) -> str:
    """Return the suffix of `path`; DataError unless it is one of `SUFFIXES`."""
    if path.suffix not in SUFFIXES:
        raise DataError(f"{option} {path}: the name must end in .jsonl or .parquet, which says how it is written")
    return path.suffix


def read_sample_file(path: Path, sample_type: type[SampleT], on_bad: OnBad | None = None) -> Iterator[Placed[SampleT]]:
    """Yield the samples of a JSONL or parquet file, validated, in the order of the file.

    Raises DataError naming file, line (JSONL) or row (parquet) and field: for a bad row unless `on_bad` takes it, and
    for a file that cannot be read, or holds no row at all.
    """
    rows = _parquet_rows(path) if check_suffix(path, "--input") == ".parquet" else _lines(path)
    seen: dict[str, str] = {}
    place = ""
    for place, content in rows:
        try:
            sample = _sample(place, content, sample_type)
            first = seen.setdefault(sample.id, place)
            if first != place:
                raise DataError(f"{place}, field 'id': {sample.id!r} was already given in {first.rsplit(', ', 1)[1]}")
        except DataError as error:
            if on_bad is None:
                raise
            on_bad(error)
            continue
        yield Placed(place, sample)
    if not place:
        raise DataError(f"{path}: there are no samples in it")


def count_rows(path: Path) -> int:
    """Return how many rows a file holds, for a progress bar. DataError when it cannot be read."""
    if path.suffix == ".parquet":
        return int(_open(path).metadata.num_rows)
    try:
        with path.open("rb") as file:
            return sum(1 for line in file if line.strip())
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error


def _sample(place: str, content: bytes | dict[str, Any], sample_type: type[SampleT]) -> SampleT:
    if isinstance(content, bytes):
        return parse_line(place, content, sample_type)
    try:
        sample = sample_type.model_validate(content)
    except ValidationError as error:
        raise DataError(f"{place}, {described(error)}") from error
    check_history(place, sample)
    return sample


def _lines(path: Path) -> Iterator[tuple[str, bytes]]:
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    yield f"{path}, line {number}", line
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error


def _parquet_rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    import pyarrow as pa

    number = 0
    try:
        for batch in _open(path).iter_batches(batch_size=1024):
            for row in batch.to_pylist(maps_as_pydicts="strict"):
                number += 1
                yield f"{path}, row {number}", _without_missing(row)
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{path}, after row {number}: cannot be read ({' '.join(str(error).split())})") from error


def _open(path: Path) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.ParquetFile(path)
    except (OSError, pa.ArrowException) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise DataError(f"{path}: cannot be read as parquet ({reason})") from error


def _without_missing(value: Any) -> Any:
    """Leave out what is null: parquet writes a field that a row does not have as null."""
    if isinstance(value, dict):
        return {key: _without_missing(inner) for key, inner in value.items() if inner is not None}
    if isinstance(value, list):
        return [_without_missing(inner) for inner in value]
    return value
