"""Rows to a parquet file, some at a time, whose columns get the types that all of them need.

The types of a column are not known before its last row: what was None so far may become text, and a whole number be
followed by a fraction. So rows are kept in parts, each with the types of its own rows, and where these differ the parts
are brought to common types at the end. A column whose values have no common type becomes text: text stays as it is,
anything else is written as JSON.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq


class ParquetRows:
    """Appends rows; the file is there when the block ends, and holds no column where no row came.

    Memory holds the rows of one call. Raises OSError where the disk refuses.
    """

    def __init__(self, path: Path) -> None:
        """`path`: the file, which is replaced."""
        self._path = path
        self._folder: Path | None = None
        self._parts: list[tuple[Path, pa.Schema]] = []
        self._writer: pq.ParquetWriter | None = None

    def __enter__(self) -> ParquetRows:
        """Open nothing yet."""
        return self

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Append rows."""
        import pyarrow.parquet as pq

        if not rows:
            return
        table = _table(rows)
        if self._writer is None or not table.schema.equals(self._parts[-1][1]):
            self._close()
            self._folder = self._folder or Path(tempfile.mkdtemp(prefix=f".{self._path.name}-", dir=self._path.parent))
            self._parts.append((self._folder / f"{len(self._parts)}.parquet", table.schema))
            self._writer = pq.ParquetWriter(self._parts[-1][0], table.schema)
        self._writer.write_table(table)

    def __exit__(self, kind: type[BaseException] | None, *_rest: object) -> None:
        """Put the parts together, unless the block failed."""
        try:
            self._close()
            if kind is None:
                self._join()
        finally:
            if self._folder is not None:
                shutil.rmtree(self._folder, ignore_errors=True)

    def _close(self) -> None:
        if self._writer is not None:
            writer, self._writer = self._writer, None
            writer.close()

    def _join(self) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        if not self._parts:
            pq.write_table(pa.table({}), self._path)
            return
        if len(self._parts) == 1:
            self._parts[0][0].replace(self._path)
            return
        schema = _common_schema([schema for _, schema in self._parts])
        text = [name for name in schema.names if not all(_fits(table, name, schema) for table in self._groups())]
        for name in text:
            schema = schema.set(schema.get_field_index(name), pa.field(name, pa.string()))
        with pq.ParquetWriter(self._path, schema) as writer:
            for table in self._groups():
                writer.write_table(_brought_to(table, schema))

    def _groups(self) -> Iterator[pa.Table]:
        import pyarrow.parquet as pq

        for path, _ in self._parts:
            with pq.ParquetFile(path) as file:
                for group in range(file.num_row_groups):
                    yield file.read_row_group(group)


def _table(rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Rows as columns in order of their first sight, None where a row has no such cell."""
    import pyarrow as pa

    names = dict.fromkeys(name for row in rows for name in row)
    return pa.table({name: _column([row.get(name) for row in rows]) for name in names})


def _column(values: Sequence[Any]) -> pa.Array:
    import pyarrow as pa

    try:
        return pa.array(values)
    except (pa.ArrowException, OverflowError):
        return pa.array([_text(value) for value in values], pa.string())


def _text(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _common_schema(schemas: Sequence[pa.Schema]) -> pa.Schema:
    """Every column with a type that all of its types can become; text where there is none."""
    import pyarrow as pa

    fields = []
    for name in dict.fromkeys(name for schema in schemas for name in schema.names):
        kinds = [pa.schema([schema.field(name)]) for schema in schemas if name in schema.names]
        try:
            fields.append(pa.unify_schemas(kinds, promote_options="permissive").field(0))
        except pa.ArrowException:
            fields.append(pa.field(name, pa.string()))
    return pa.schema(fields)


def _fits(table: pa.Table, name: str, schema: pa.Schema) -> bool:
    """Whether a column keeps all it says in the common type (a large whole number is no fraction)."""
    import pyarrow as pa

    if name not in table.column_names or pa.types.is_string(schema.field(name).type):
        return True
    try:
        table.column(name).cast(schema.field(name).type)
    except pa.ArrowException:
        return False
    return True


def _brought_to(table: pa.Table, schema: pa.Schema) -> pa.Table:
    import pyarrow as pa

    columns = []
    for field in schema:
        if field.name not in table.column_names:
            columns.append(pa.nulls(table.num_rows, field.type))
        elif pa.types.is_string(field.type) and not pa.types.is_string(table.schema.field(field.name).type):
            columns.append(pa.array([_text(v) for v in table.column(field.name).to_pylist()], pa.string()))
        else:
            columns.append(table.column(field.name).cast(field.type))
    return pa.table(columns, schema=schema)
