"""A table of items in parquet, one file or a folder of shards, read a batch at a time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as ds

from m6rec_core.errors import DataError
from m6rec_core.types import Item

ID_COLUMN = "item_id"


def read_items(path: Path, batch: int = 1024) -> Iterator[list[Item]]:
    """Yield lists of at most `batch` items from a parquet file or a folder of them; memory stays flat.

    Columns beside `item_id` become the items' text fields; empty cells are left out. Raises DataError, naming file and
    row, for a missing column, an item without an id, or a file that is no parquet.
    """
    if not path.exists():
        raise DataError(f"{path} does not exist: give a parquet file of items, or a folder of them")
    files = sorted(path.glob("*.parquet")) if path.is_dir() else [path]
    if not files:
        raise DataError(f"{path} holds no parquet file: give a parquet file of items, or a folder of them")
    for file in files:
        yield from _read_file(file, batch)


def _read_file(file: Path, batch: int) -> Iterator[list[Item]]:
    row = 0
    try:
        data = ds.dataset(file, format="parquet")
        if ID_COLUMN not in data.schema.names:
            raise DataError(f"{file}: column {ID_COLUMN} is missing: give each item an id")
        for found in data.to_batches(batch_size=batch, batch_readahead=1, fragment_readahead=1):
            if found.num_rows:
                yield [_item(file, row + place, cells) for place, cells in enumerate(found.to_pylist())]
                row += found.num_rows
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{file} cannot be read as parquet: {str(error).splitlines()[0]}: write it again") from error


def _item(file: Path, row: int, cells: dict[str, object]) -> Item:
    name = cells.pop(ID_COLUMN)
    if name is None or not str(name):
        raise DataError(f"{file}: row {row}: field {ID_COLUMN} is empty: give each item an id")
    fields = {key: str(value) for key, value in cells.items() if value is not None and str(value)}
    return Item(item_id=str(name), fields=fields)
