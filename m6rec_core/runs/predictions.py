"""`predictions.parquet`: every test row of a run, its label and what each model said: enough to make the table again.

Columns: id, user_id, item_id, timestamp, label, cold; then per model its probability under its name, and its score
under "NAME (score)" where it ranks by something else. The file's metadata `m6rec` says which columns are whose.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field, ValidationError

from m6rec_core.errors import DataError
from m6rec_core.files import replacing
from m6rec_core.metrics import METRICS
from m6rec_core.runs.compare import Comparison, Contender, Floats, compare
from m6rec_core.types import FrozenModel

if TYPE_CHECKING:
    import pandas as pd

KEY = b"m6rec"
ROWS = ("user_id", "label", "cold")


class Columns(FrozenModel):
    """The columns of one model."""

    name: str
    probability: str
    score: str


class Card(FrozenModel):
    """The metadata of the file. `models`: the model itself first. `resamples`: of the bootstrap."""

    task: str
    metrics: tuple[str, ...] = Field(min_length=1)
    resamples: int = Field(ge=10)
    models: tuple[Columns, ...] = Field(min_length=1)


def write_predictions(
    path: Path, rows: pd.DataFrame, contenders: Sequence[Contender], task: str, metrics: Sequence[str], resamples: int
) -> None:
    """Write the rows [n] with the contenders' answers, atomically; `rows` has the columns of the module's docstring."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    frame = rows.copy()
    models = []
    for one in contenders:
        frame[one.name] = one.probability
        own = not np.array_equal(one.score, one.probability)
        score = f"{one.name} (score)" if own else one.name
        frame[score] = one.score if own else one.probability
        models.append(Columns(name=one.name, probability=one.name, score=score))
    card = Card(task=task, metrics=tuple(metrics), resamples=resamples, models=tuple(models))
    table = pa.Table.from_pandas(frame, preserve_index=False)
    table = table.replace_schema_metadata({**(table.schema.metadata or {}), KEY: card.model_dump_json().encode()})
    with replacing(path) as partial:
        pq.write_table(table, partial)


def compare_predictions(path: Path) -> tuple[Card, Comparison]:
    """Make the table of a predictions file again. Raises DataError when it is none, or is damaged."""
    card, frame = _read(path)
    codes = np.unique(frame["user_id"].to_numpy(dtype=str), return_inverse=True)[1].astype(np.int64)

    def floats(column: str) -> Floats:
        values: Floats = frame[column].to_numpy(dtype=np.float64)
        if not np.isfinite(values).all():
            row = int(np.flatnonzero(~np.isfinite(values))[0]) + 1
            raise DataError(f"{path}, row {row}, field {column!r}: is not a finite number; score the rows again")
        return values

    contenders = [Contender(m.name, floats(m.score), floats(m.probability), {}) for m in card.models]
    cold = frame["cold"].to_numpy(dtype=bool)
    comparison = compare(contenders[0], contenders[1:], floats("label"), codes, cold, card.metrics, card.resamples)
    return card, comparison


def _read(path: Path) -> tuple[Card, pd.DataFrame]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        reason = " ".join(str(getattr(error, "strerror", None) or error).split())
        raise DataError(f"{path}: cannot be read as parquet ({reason})") from error
    card = _card(path, (table.schema.metadata or {}).get(KEY))
    wanted = [*ROWS, *(column for m in card.models for column in (m.score, m.probability))]
    missing = [name for name in wanted if name not in table.column_names]
    if missing:
        raise DataError(f"{path}, field {missing[0]!r}: the column is missing; give the file as m6rec run wrote it")
    if table.num_rows == 0:
        raise DataError(f"{path}: the table has no rows")
    return card, table.to_pandas()


def _card(path: Path, text: Any) -> Card:
    if text is None:
        raise DataError(f"{path}: was not written by m6rec run; give it the predictions.parquet of a run")
    try:
        card = Card.model_validate(json.loads(text))
    except (ValueError, ValidationError) as error:
        raise DataError(f"{path}: its m6rec metadata cannot be read; give the file as m6rec run wrote it") from error
    unknown = [name for name in card.metrics if name not in METRICS]
    if unknown:
        raise DataError(f"{path}: metric {unknown[0]!r} is unknown to this m6rec-core (it has {', '.join(METRICS)})")
    return card
