"""Files to tables: parquet, csv and jsonl, plain or gzipped, always UTF-8. Cells are not interpreted here.

The index of every table is the 1-based data row. Bytes that are not UTF-8 survive as lone surrogates, so that
`columns` can name the cell they are in.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from m6rec_core.errors import DataError
from m6rec_core.logs.problems import Problem

SUFFIXES = (".parquet", ".csv", ".csv.gz", ".jsonl", ".jsonl.gz")


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """The raw cells of one file, and the rows that could not be taken apart."""

    file: str
    frame: pd.DataFrame
    problems: tuple[Problem, ...] = ()


def find_table(folder: Path, name: str) -> Path | None:
    """Return the file of table `name` ("events"), or None. DataError when there are two of them."""
    found = [path for suffix in SUFFIXES if (path := folder / f"{name}{suffix}").is_file()]
    if len(found) > 1:
        names = " and ".join(path.name for path in found)
        raise DataError(f"{found[0].name}: {names} are both the {name} table; keep one of them")
    return found[0] if found else None


def read_table(path: Path, may_be_empty: bool = False) -> Table:
    """Read one file. DataError when it as a whole cannot be read, or holds no row and may not be empty; rows that
    cannot be read are in `problems`."""
    if path.suffix == ".parquet":
        table = _parquet(path)
    else:
        text = _text(path)
        table = _csv(path, text) if ".csv" in path.suffixes[-2:] else _jsonl(path, text)
    if table.frame.empty and not table.problems and not (may_be_empty and len(table.frame.columns)):
        raise DataError(f"{path.name}: the table is empty; it needs at least one row")
    return table


def _text(path: Path) -> str:
    try:
        raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path.name}: cannot be read ({error})") from error
    if raw[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise DataError(f"{path.name}: the file is UTF-16; save it as UTF-8")
    return raw.decode("utf-8-sig", errors="surrogateescape")


def _csv(path: Path, text: str) -> Table:
    reader = csv.reader(io.StringIO(text, newline=""))
    header: list[str] = []
    rows: list[list[str]] = []
    numbers: list[int] = []
    problems: list[Problem] = []
    number = 0
    while True:
        try:
            cells = next(reader, None)
        except csv.Error as error:
            number += 1
            problems.append(
                Problem(path.name, number, None, "csv", f"cannot be read ({error}); quote or shorten its text")
            )
            continue
        if cells is None:
            break
        if not header:
            header = [cell.strip() for cell in cells]
            continue
        if not cells:
            continue
        number += 1
        if len(cells) != len(header):
            what = f"has {len(cells)} cells, the header has {len(header)}; quote text that contains commas"
            problems.append(Problem(path.name, number, None, "csv", what))
            continue
        rows.append(cells)
        numbers.append(number)
    _distinct(path, header)
    columns = list(zip(*rows, strict=True)) if rows else [() for _ in header]
    frame = {name: pd.Series(list(cells), dtype=object) for name, cells in zip(header, columns, strict=True)}
    return Table(path.name, _numbered(pd.DataFrame(frame), numbers), tuple(problems))


def _jsonl(path: Path, text: str) -> Table:
    rows: list[dict[str, Any]] = []
    numbers: list[int] = []
    problems: list[Problem] = []
    number = 0
    for line in text.split("\n"):
        if not line.strip():
            continue
        number += 1
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            problems.append(Problem(path.name, number, None, "json", f"is not JSON ({error}); write one object a line"))
            continue
        if not isinstance(row, dict):
            what = f"is {type(row).__name__}, not an object; write one object a line"
            problems.append(Problem(path.name, number, None, "json", what))
            continue
        rows.append(row)
        numbers.append(number)
    names = list(dict.fromkeys(name for row in rows for name in row))
    frame = pd.DataFrame({name: pd.Series([row.get(name) for row in rows], dtype=object) for name in names})
    return Table(path.name, _numbered(frame, numbers), tuple(problems))


def _parquet(path: Path) -> Table:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        # A file handle, not a path: pyarrow would read `a=b` parts of the folder's own name as columns.
        with path.open("rb") as file:
            table = pq.ParquetFile(file).read()
        _distinct(path, table.column_names)
        frame = pd.DataFrame({name: table.column(name).to_pandas() for name in table.column_names})
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        detail = " ".join(str(error).split())
        raise DataError(f"{path.name}: cannot be read as parquet ({detail})") from error
    return Table(path.name, _numbered(frame, list(range(1, len(frame) + 1))))


def _numbered(frame: pd.DataFrame, numbers: list[int]) -> pd.DataFrame:
    frame.index = pd.Index(numbers, dtype="int64", name="row")
    return frame


def _distinct(path: Path, names: list[str]) -> None:
    twice = [name for name in dict.fromkeys(names) if names.count(name) > 1]
    if twice:
        raise DataError(f"{path.name}: the header names {twice[0]!r} twice; every column needs a name of its own")
