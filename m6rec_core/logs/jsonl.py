"""Samples as JSON lines: what `m6rec predict` reads and any pipeline can write."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from m6rec_core.errors import DataError
from m6rec_core.files import replacing
from m6rec_core.types import BehaviourSample, Sample

SampleT = TypeVar("SampleT", bound=Sample)


def read_samples(path: Path, sample_type: type[SampleT]) -> Iterator[SampleT]:
    """Yield the samples of a JSONL file one by one, validated. Blank lines are passed over.

    Raises DataError naming file, line and field for text that is not UTF-8 or not JSON, for a sample that does not fit
    `sample_type`, for an id that came before, and for a file without samples.
    """
    seen: dict[str, int] = {}
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    sample = parse_line(f"{path}, line {number}", line, sample_type)
                    first = seen.setdefault(sample.id, number)
                    if first != number:
                        raise DataError(
                            f"{path}, line {number}, field 'id': {sample.id!r} was already given in line {first}"
                        )
                    yield sample
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error
    if not seen:
        raise DataError(f"{path}: there are no samples in it; write one JSON object a line")


def write_samples(path: Path, samples: Iterable[BaseModel]) -> int:
    """Write samples (or predictions) as JSON lines, complete or not at all; return how many. DataError on a full
    disk."""
    count = 0
    try:
        with replacing(path) as partial, partial.open("w", encoding="utf-8", newline="\n") as file:
            for sample in samples:
                file.write(sample.model_dump_json() + "\n")
                count += 1
    except OSError as error:
        raise DataError(f"{path}: cannot be written ({error.strerror or error})") from error
    return count


def parse_line(place: str, line: bytes, sample_type: type[SampleT]) -> SampleT:
    """Return one line as a sample. Raises DataError that begins with `place` and names the field."""
    try:
        content = json.loads(line.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise DataError(f"{place}: is not UTF-8 text ({error.reason} at byte {error.start})") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{place}: is not JSON ({error})") from error
    if not isinstance(content, dict):
        raise DataError(f"{place}: is {type(content).__name__}, not an object; write one sample a line")
    try:
        sample = sample_type.model_validate_json(json.dumps(content))
    except ValidationError as error:
        raise DataError(f"{place}, {described(error)}") from error
    check_history(place, sample)
    return sample


def check_history(place: str, sample: Sample) -> None:
    """Raise DataError when a sample's history is not what it must be: oldest first, and none of it in the future."""
    if not isinstance(sample, BehaviourSample):
        return
    latest = -math.inf
    for number, event in enumerate(sample.history):
        field = f"{place}, field 'history.{number}.timestamp'"
        if event.timestamp > sample.timestamp:
            raise DataError(
                f"{field}: {event.timestamp:g} is after the sample's own {sample.timestamp:g}; leave it out"
            )
        if event.timestamp < latest:
            raise DataError(
                f"{field}: {event.timestamp:g} is before that of the event above it; write the oldest first"
            )
        latest = event.timestamp


def described(error: ValidationError) -> str:
    """The first thing wrong with a sample, on one line: field, or that its fields do not fit together, and reason."""
    first = error.errors()[0]
    field = ".".join(map(str, first["loc"]))
    place = f"field {field!r}" if field else "the sample as a whole"
    message = first["msg"].removeprefix("Value error, ")
    return f"{place}: {message[:1].lower()}{message[1:]}"
