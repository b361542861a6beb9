"""What a ranker is asked: candidates, requests as JSON lines, catalogues as parquet."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import Field, JsonValue, ValidationError

from m6rec_core.errors import DataError
from m6rec_core.types import BehaviourSample, FrozenModel, Item


class Candidate(FrozenModel):
    """An item to rank, with what was counted of it (and of it with the user) before now."""

    item: Item
    statistics: Mapping[str, float] = Field(default_factory=dict)


class RankRequest(FrozenModel):
    """One line of a requests file. `user`: a sample of the task without `id` and `candidate`."""

    id: str
    user: dict[str, JsonValue]
    candidates: tuple[Candidate, ...] = Field(min_length=1)

    def sample(self, model: type[BehaviourSample]) -> BehaviourSample:
        """The user as a sample of the task, with the first candidate. Raises pydantic's ValidationError."""
        first = {"id": self.id, "candidate": self.candidates[0].item}
        return model.model_validate({"timestamp": 0.0, **self.user, **first})


def read_requests(path: Path, model: type[BehaviourSample]) -> Iterator[tuple[str, BehaviourSample, list[Candidate]]]:
    """Yield id, user and candidates of each line. Raises DataError naming the file, the line and the field."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read: {error}") from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            request = RankRequest.model_validate_json(line)
            user = request.sample(model)
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(str(part) for part in first["loc"])
            raise DataError(f"{path}, line {number}: field {field or 'request'}: {first['msg']}") from error
        yield request.id, user, list(request.candidates)


def read_catalogue(path: Path) -> list[Candidate]:
    """The items of a parquet file: text columns are fields, number columns are statistics; empty cells are left out.

    Raises DataError when it cannot be read or has no item_id.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{path}: cannot be read as parquet: {' '.join(str(error).split())}") from error
    if "item_id" not in table.column_names:
        raise DataError(f"{path}: column item_id is missing (there are: {', '.join(table.column_names)})")
    return [_candidate(row) for row in table.to_pylist()]


def _candidate(row: Mapping[str, Any]) -> Candidate:
    cells = {name: value for name, value in row.items() if name != "item_id" and value is not None}
    numbers = {name: float(v) for name, v in cells.items() if isinstance(v, (int, float)) and not isinstance(v, bool)}
    fields = {name: str(value) for name, value in cells.items() if name not in numbers}
    return Candidate(item=Item(item_id=str(row["item_id"]), fields=fields), statistics=numbers)
