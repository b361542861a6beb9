"""Tables and JSON lines that users bring, plain or gzipped, read with the place of each row."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal, overload

from m6rec_core.errors import DataError
from m6rec_core.logs import source_files

Row = Mapping[str, str]


@overload
def find(folder: Path, name: str, needed: Literal[True] = True) -> Path: ...
@overload
def find(folder: Path, name: str, needed: bool) -> Path | None: ...
def find(folder: Path, name: str, needed: bool = True) -> Path | None:
    """Return the file `name` or `name`.gz of a folder. DataError when it is needed and neither is there."""
    for path in (folder / name, folder / f"{name}.gz"):
        if path.is_file():
            return path
    if needed:
        raise DataError(f"{folder}: there is no {name} or {name}.gz; put it there")
    return None


def read_table(path: Path, columns: Sequence[str], delimiter: str, surplus: bool = False) -> Iterator[tuple[str, Row]]:
    """Yield (place, row) of a table with a header, whose names may end in a type ("title:token_seq").

    `surplus`: delimiters too many belong to the last column, which was written without quotes. Raises DataError
    naming file, row and column.
    """
    content = io.StringIO(source_files.read_text(path), newline="")
    tabs = csv.reader(content, delimiter=delimiter, quoting=csv.QUOTE_NONE)  # quotes there are part of a title
    rows = csv.reader(content) if delimiter == "," else tabs
    try:
        header = [name.split(":")[0].strip() for name in next(rows, [])]
        missing = [name for name in columns if name not in header]
        if missing:
            raise DataError(f"{path}: there is no column {missing[0]!r} (there are: {', '.join(header) or 'none'})")
        for number, row in enumerate(rows, start=1):
            cells = row
            if surplus and len(row) > len(header):
                cells = [*row[: len(header) - 1], delimiter.join(row[len(header) - 1 :])]
            if len(cells) != len(header):
                raise DataError(f"{path}, row {number}: it has {len(cells)} cells, the header {len(header)}")
            yield f"{path}, row {number}", dict(zip(header, cells, strict=True))
    except csv.Error as error:
        raise DataError(f"{path}: cannot be read as a table ({error})") from error


def read_objects(path: Path, fields: Sequence[str]) -> Iterator[tuple[str, Row]]:
    """Yield (place, object) of JSON lines; numbers become text. Raises DataError naming file, line and field."""
    for place, content in source_files.read_objects(path):
        missing = [name for name in fields if not isinstance(content.get(name), str | int)]
        if missing:
            raise DataError(f"{place}, field {missing[0]!r}: is missing or not a text")
        yield place, {name: str(value) for name, value in content.items() if isinstance(value, str | int)}
