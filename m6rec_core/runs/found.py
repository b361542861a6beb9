"""What every protocol of a run hands on: the clock of the stages, and the result on the test part."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from m6rec_core.types import ReportTable


@dataclass(frozen=True, slots=True)
class Clock:
    """Wall time per stage, in seconds."""

    stages: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a block under `name`."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.stages[name] = self.stages.get(name, 0.0) + time.perf_counter() - start


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """The result on the test part. `metrics` goes into `metrics.json`; `references`: name -> value of `first_metric` on
    the valid rows, drawn into the learning curve.
    """

    tables: tuple[ReportTable, ...]
    facts: tuple[tuple[str, str], ...]
    metrics: Mapping[str, Any]
    first_metric: str
    references: Mapping[str, float]
    write_predictions: Callable[[Path], None]
