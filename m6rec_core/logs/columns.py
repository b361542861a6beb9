"""Raw cells to ids, text, times and numbers; a cell that is none says which row and why.

Missing cells are None, NaN, blank text, and the words that exports write for nothing (`MISSING`).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from m6rec_core.logs.problems import Problem
from m6rec_core.logs.schema import MAX_ID, MAX_TEXT
from m6rec_core.logs.statistics import FloatArray
from m6rec_core.text.template import clean

MISSING = frozenset({"", "nan", "NaN", "NAN", "None", "none", "null", "NULL", "<NA>", "NaT"})
"""Text that stands for a missing cell."""

ObjectArray = NDArray[np.object_]

MILLISECONDS_FROM = 1e11
"""Numbers at least this large are milliseconds: as seconds it is the year 5138, as milliseconds March 1973."""
TOO_LARGE = 1e14

_BROKEN = re.compile("[\ud800-\udfff]")
_ZONE = re.compile(r"[T ].*(Z|[+-]\d\d(:?\d\d)?)$")


class _WrongCellError(Exception):
    """(code, message) of a cell that cannot be used."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True, eq=False)
class Times:
    """Seconds since 1970 [n] (NaN where wrong) and the form they were written in."""

    seconds: FloatArray
    form: str


@dataclass(frozen=True, slots=True, eq=False)
class _Source:
    """A column, the file it is from, and the list its problems go to."""

    file: str
    column: pd.Series[Any]
    problems: list[Problem]

    def wrong(self, where: NDArray[np.bool_], message: str) -> None:
        """Report the rows `where`; `{cell}` in the message is what stands there."""
        cells = self.column.to_numpy(dtype=object)[where]
        for row, cell in zip(self.column.index[where], cells, strict=True):
            shown = "missing" if _missing(cell) else repr(cell)[:60]
            text = message.replace("{cell}", shown)
            self.problems.append(Problem(self.file, int(row), str(self.column.name), "timestamp", text))


def text_column(file: str, column: pd.Series[Any], problems: list[Problem]) -> ObjectArray:
    """Return clean one-line text or None for every cell. Lists of words are joined with ", "; numbers are written
    out."""
    return _each(file, column, lambda cell: _as_text(cell, MAX_TEXT), problems)


def id_column(file: str, column: pd.Series[Any], problems: list[Problem]) -> ObjectArray:
    """Return ids as text; a missing id is a problem. 7, 7.0 and "7" are the same id."""
    return _each(file, column, _as_id, problems)


def number_column(file: str, column: pd.Series[Any], problems: list[Problem]) -> FloatArray:
    """Return numbers, NaN where the cell is missing."""
    if pd.api.types.is_numeric_dtype(column.dtype) and not pd.api.types.is_bool_dtype(column.dtype):
        numbers: FloatArray = column.to_numpy(dtype=np.float64, na_value=np.nan)
    else:
        numbers = _each(file, column, _as_number, problems).astype(np.float64)
    for row in column.index[np.isinf(numbers)]:
        problems.append(Problem(file, int(row), str(column.name), "type", "is infinite; give a finite number"))
    return numbers


def time_column(file: str, column: pd.Series[Any], problems: list[Problem]) -> Times:
    """Return times in seconds since 1970.

    The column as a whole is seconds, milliseconds, or ISO 8601 text (UTC where no zone is given), whichever most of its
    cells are; a cell in another form is a problem, and so is a missing or infinite one.
    """
    source = _Source(file, column, problems)
    if pd.api.types.is_datetime64_any_dtype(column.dtype):
        return Times(_instants(source, pd.to_datetime(column, utc=True)), "parquet timestamps")
    plain = column if pd.api.types.is_numeric_dtype(column.dtype) else pd.to_numeric(_plain(column), errors="coerce")
    numbers = plain.to_numpy(dtype=np.float64, na_value=np.nan)
    given = ~np.fromiter(map(_missing, column), dtype=np.bool_, count=len(column))
    if pd.api.types.is_bool_dtype(column.dtype) or np.isfinite(numbers).sum() * 2 < given.sum():
        return Times(_iso(source), "ISO 8601")
    finite = np.isfinite(numbers)
    milliseconds = bool(finite.any()) and float(np.median(np.abs(numbers[finite]))) >= MILLISECONDS_FROM
    other = finite & ((np.abs(numbers) >= MILLISECONDS_FROM) != milliseconds) & (numbers != 0)
    form = "milliseconds" if milliseconds else "seconds"
    source.wrong(~finite, f"is not a time ({{cell}}); the column holds {form} since 1970")
    wrong = f"{{cell}} is not in {form} since 1970 like the rest of the column; give all times in one unit"
    source.wrong(other | (finite & (np.abs(numbers) >= TOO_LARGE)), wrong)
    return Times(np.where(finite, numbers / (1000.0 if milliseconds else 1.0), np.nan), form)


def _plain(column: pd.Series[Any]) -> pd.Series[Any]:
    cells = [cell if isinstance(cell, str | int | float) and not isinstance(cell, bool) else None for cell in column]
    return pd.Series(cells, index=column.index)


def _iso(source: _Source) -> FloatArray:
    texts = pd.Series([_iso_text(cell) for cell in source.column], index=source.column.index, dtype=object)
    parsed = pd.to_datetime(texts, format="ISO8601", errors="coerce", utc=True)
    zoned = np.array([bool(text and _ZONE.search(text)) for text in texts])
    fine = parsed.notna().to_numpy()
    most = bool(zoned[fine].sum() * 2 >= fine.sum())
    kind = "no time zone" if most else "a time zone"
    source.wrong(fine & (zoned != most), f"{{cell}} has {kind}, unlike the rest of the column; use one form")
    return _instants(source, parsed)


def _iso_text(cell: Any) -> str | None:
    if isinstance(cell, date):
        return cell.isoformat()
    return cell.strip() if isinstance(cell, str) else None


def _instants(source: _Source, parsed: pd.Series[Any]) -> FloatArray:
    source.wrong(parsed.isna().to_numpy(), "is not a time ({cell}); give ISO 8601, or seconds since 1970")
    origin = pd.Timestamp("1970-01-01", tz="UTC")
    seconds: FloatArray = ((parsed - origin) / pd.Timedelta(seconds=1)).to_numpy(dtype=np.float64, na_value=np.nan)
    return seconds


def _each(file: str, column: pd.Series[Any], convert: Callable[[Any], Any], problems: list[Problem]) -> ObjectArray:
    """Convert cell by cell; equal text is converted once."""
    result = np.empty(len(column), dtype=object)
    seen: dict[str, Any] = {}
    for place, cell in enumerate(column.tolist()):
        if type(cell) is str and cell in seen:
            result[place] = seen[cell]
            continue
        try:
            result[place] = convert(cell)
        except _WrongCellError as wrong:
            problems.append(Problem(file, int(column.index[place]), str(column.name), wrong.code, str(wrong)))
            continue
        if type(cell) is str:
            seen[cell] = result[place]
    return result


def _missing(cell: Any) -> bool:
    if cell is None or cell is pd.NA or cell is pd.NaT:
        return True
    return (isinstance(cell, float) and math.isnan(cell)) or (isinstance(cell, str) and cell.strip() in MISSING)


def _as_text(cell: Any, limit: int) -> str | None:
    if _missing(cell):
        return None
    text = clean(_written(cell))
    if len(text) > limit:
        raise _WrongCellError(
            "length", f"has {len(text):,} characters, at most {limit:,} are allowed; shorten it or skip the row"
        )
    if _BROKEN.search(text):
        raise _WrongCellError("encoding", "is not UTF-8 text; save the whole file in one encoding, UTF-8")
    return text or None


def _as_id(cell: Any) -> str:
    if isinstance(cell, bool) or (isinstance(cell, float) and not math.isnan(cell) and not cell.is_integer()):
        raise _WrongCellError("type", f"{cell} is not an id; write ids as text or whole numbers")
    text = _as_text(cell, MAX_ID)
    if text is None:
        raise _WrongCellError("missing", "is missing; every row needs one")
    return text


def _as_number(cell: Any) -> float:
    if _missing(cell):
        return math.nan
    if not isinstance(cell, bool) and isinstance(cell, str | int | float | np.number):
        try:
            return float(cell)
        except (ValueError, OverflowError):
            pass
    raise _WrongCellError("type", f"{str(cell)[:60]!r} is not a number")


def _written(cell: Any) -> str:
    if isinstance(cell, str):
        return cell
    if isinstance(cell, bool | np.bool_):
        return "true" if cell else "false"
    if isinstance(cell, float | np.floating):
        return str(int(cell)) if float(cell).is_integer() else str(float(cell))
    if isinstance(cell, int | np.integer):
        return str(int(cell))
    if isinstance(cell, date | datetime):
        return cell.isoformat()
    if isinstance(cell, list | tuple | np.ndarray):
        return _joined(cell)
    raise _WrongCellError("type", f"holds a {type(cell).__name__}; give text, a number or a list of words")


def _joined(cells: Iterable[Any]) -> str:
    words = []
    for cell in cells:
        if isinstance(cell, list | tuple | dict | np.ndarray):
            raise _WrongCellError("type", "holds lists within a list; give text, a number or a list of words")
        if not _missing(cell):
            words.append(_written(cell))
    return ", ".join(words)
