"""What `m6rec data check` says of a folder: what it holds, and everything that is wrong with it."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd

from m6rec_core.logs.problems import Problem
from m6rec_core.logs.reading import scan
from m6rec_core.logs.schema import Logs
from m6rec_core.logs.statistics import count_before
from m6rec_core.types import FrozenModel

LISTED = 10
"""How many problems of one kind are listed in full; all are counted."""

COLD_BELOW = 5


class ProblemGroup(FrozenModel):
    """Problems of one kind in one field: how many, and the first of them as lines of text."""

    file: str
    field: str | None
    kind: str
    count: int
    first: tuple[str, ...]


class Findings(FrozenModel):
    """What the usable rows hold.

    `values`: how often each value occurs, when there are at most 20 different ones, else its quantiles. `cold_share`:
    events whose item or user had fewer than 5 earlier events. Times are ISO 8601 in UTC.
    """

    users: int
    items: int
    events: int
    described_users: int
    kinds: dict[str, int]
    time_form: str
    first: str
    last: str
    values: dict[str, float]
    fields: dict[str, float]
    untitled_share: float
    cold_share: float


class CheckReport(FrozenModel):
    """The result of `check_logs`. `rows` are the data rows of each file; `fields` of the findings are shares of
    filled cells."""

    folder: str
    name: str
    domain: str
    terms: str
    rows: dict[str, int]
    problem_count: int
    problems: tuple[ProblemGroup, ...]
    notes: tuple[str, ...]
    found: Findings | None

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong; notes do not count."""
        return self.problem_count == 0


def check_logs(folder: Path) -> CheckReport:
    """Check a folder row by row without stopping at the first problem. DataError only when it is no folder of logs at
    all."""
    found = scan(folder)
    logs = found.logs
    return CheckReport(
        folder=str(folder),
        name=logs.name if logs else folder.resolve().name,
        domain=logs.domain.name if logs else "",
        terms=logs.terms if logs else "",
        rows=found.rows,
        problem_count=len(found.problems),
        problems=_grouped(found.problems),
        notes=found.notes,
        found=_findings(logs, found.time_form) if logs else None,
    )


def _grouped(problems: tuple[Problem, ...]) -> tuple[ProblemGroup, ...]:
    groups: dict[tuple[str, str | None, str], list[Problem]] = {}
    for problem in problems:
        groups.setdefault((problem.file, problem.field, problem.code), []).append(problem)
    return tuple(
        ProblemGroup(file=file, field=field, kind=code, count=len(some), first=tuple(map(str, some[:LISTED])))
        for (file, field, code), some in groups.items()
    )


def _findings(logs: Logs, time_form: str) -> Findings:
    events, items = logs.events, logs.items
    counts = count_before(events["user_id"], events["item_id"], events["timestamp"], np.zeros(len(events)))[:, 3:5]
    texts = [name for name in items.columns if name != "item_id"]
    title = items["title"].isna().mean() if "title" in items else 1.0
    times = events["timestamp"]
    return Findings(
        users=events["user_id"].nunique(),
        items=len(items),
        events=len(events),
        described_users=len(logs.users),
        kinds=dict(Counter(events["kind"]).most_common()),
        time_form=time_form,
        first=_written(times.iloc[0]),
        last=_written(times.iloc[-1]),
        values=_values(events["value"].dropna()),
        fields={str(name): float(items[name].notna().mean()) for name in texts},
        untitled_share=float(title),
        cold_share=float((counts < COLD_BELOW).any(axis=1).mean()),
    )


def _values(values: pd.Series[float]) -> dict[str, float]:
    different = values.value_counts().sort_index()
    if len(different) <= 20:
        return {f"{value:g}": float(count) for value, count in different.items()}
    quantiles = values.quantile([0.0, 0.25, 0.5, 0.75, 1.0])
    return dict(zip(("least", "lower quarter", "median", "upper quarter", "greatest"), quantiles.tolist(), strict=True))


def _written(seconds: float) -> str:
    try:
        return datetime.fromtimestamp(float(seconds), UTC).isoformat()
    except (OverflowError, ValueError, OSError):
        return f"{seconds:g} s"
