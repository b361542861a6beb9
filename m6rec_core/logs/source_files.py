"""Files that recipes and commands are given, plain or gzip: text, JSON lines, and errors that name file and line."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from m6rec_core.errors import DataError

UNREADABLE = (OSError, EOFError, UnicodeDecodeError, zlib.error)
"""What reading a file raises when it is missing, cut short, damaged or no UTF-8."""


def find(folder: Path, names: Sequence[str]) -> Path | None:
    """The first file of `names` that the folder has, also with .gz behind its name."""
    places = (folder / f"{name}{end}" for name in names for end in ("", ".gz"))
    return next((path for path in places if path.is_file()), None)


def needed(folder: Path | None, names: Sequence[str], data: str) -> Path:
    """As `find`. DataError naming the data set and all names when there is none."""
    if folder is None:
        raise DataError(f"data set {data!r} needs a folder with one of {', '.join(names)}")
    path = find(folder, names)
    if path is None:
        raise DataError(f"{folder}: there is none of {', '.join(names)} (or .gz); data set {data!r} is made from it")
    return path


def read_text(path: Path) -> str:
    """The text of a file. DataError naming it when it is not UTF-8 or not gzip as its name says."""
    try:
        content = path.read_bytes()
        return (gzip.decompress(content) if path.suffix == ".gz" else content).decode("utf-8-sig")
    except UNREADABLE as error:
        raise DataError(f"{path}: cannot be read ({' '.join(str(error).split())})") from error


def read_objects(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The place and content of each line of a JSONL file that is not blank, one by one. DataError for a line that is no
    JSON object."""
    number = 0
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                text = line.decode("utf-8-sig" if number == 1 else "utf-8")
                if text.strip():
                    place = f"{path}, line {number}"
                    yield place, as_object(place, parse(place, text))
    except UNREADABLE as error:
        raise DataError(f"{path}, after line {number}: cannot be read ({' '.join(str(error).split())})") from error


def text_lines(path: Path, option: str, noun: str) -> list[str]:
    """The lines of a text file that a command is given. DataError naming option and file when it cannot be read."""
    try:
        return path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise DataError(
            f"{option} {path}: cannot be read ({reason}); give a text file with one {noun} a line"
        ) from error


def parse(place: str, text: str) -> Any:
    """JSON. DataError that begins with `place`."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{place}: is not JSON ({error})") from error


def as_object(place: str, value: Any) -> Mapping[str, Any]:
    """A JSON object. DataError that begins with `place`."""
    if not isinstance(value, Mapping):
        raise DataError(f"{place}: is {type(value).__name__}, not an object")
    return value


def field(place: str, row: Mapping[str, Any], name: str, kind: type | tuple[type, ...]) -> Any:
    """A field of an object. DataError naming it when it is missing or of another type."""
    value = row.get(name)
    if not isinstance(value, kind) or isinstance(value, bool):
        raise DataError(f"{place}, field {name!r}: is missing or of the wrong type ({type(value).__name__})")
    return value
