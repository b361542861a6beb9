"""The check that no sample sees its own future or its own answer. Every run does it; it costs milliseconds."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from m6rec_core.errors import DataError, RegistryError
from m6rec_core.logs.samples import SampleTable
from m6rec_core.types import Sample


def check_leakage(samples: SampleTable) -> None:
    """Raise DataError unless every history lies strictly before its target, belongs to its user, and the splits
    follow in time.

    Looks at all rows. Statistics are strict by construction (property-tested in `count_before`).
    """
    line = samples.timeline
    some = np.flatnonzero(samples.stop > samples.start)
    bounds = [line.by_user[samples.start[some]], line.by_user[samples.stop[some] - 1]]
    ordered = np.ones(len(line.by_user), dtype=bool)
    same_user = line.events.user[line.by_user][1:] == line.events.user[line.by_user][:-1]
    ordered[1:] = ~same_user | (np.diff(line.events.time[line.by_user]) >= 0)
    if not ordered.all():
        raise DataError("events of a user are not in time order; sort the events table by timestamp")
    for edge in bounds:
        _first(samples, some, line.events.user[edge] != samples.user[some], "has another user's event in its history")
        late = line.events.time[edge] >= samples.time[some]
        _first(samples, some, late, "has an event in its history that is not earlier than the sample itself")
    if samples.splits["train"].size and samples.splits["test"].size:
        last, first = samples.time[samples.splits["train"]].max(), samples.time[samples.splits["test"]].min()
        if last >= first:
            raise DataError("a training row is not earlier than the first test row; split by time")


def check_label_hidden(
    serialize: Callable[[Sample], object], sample: Sample, answers: tuple[object, ...] = (None, False, True),
    label_field: str = "label",
) -> None:  # fmt: skip
    """Raise RegistryError when the text of `sample` changes with its label (any of `answers`, as far as they are
    valid)."""
    texts = [serialize(sample.model_copy(update={label_field: answer})) for answer in answers]
    if any(text != texts[0] for text in texts[1:]):
        raise RegistryError(
            f"sample {sample.id}: its text changes with {label_field!r}; serialize_sample must not look at the label"
        )


def _first(samples: SampleTable, rows: NDArray[np.intp], wrong: NDArray[np.bool_], what: str) -> None:
    found = np.flatnonzero(wrong)
    if len(found):
        sample = int(rows[found[0]])
        row = samples.timeline.events.row[samples.event[sample]]
        raise DataError(f"events, row {row}: the sample {what} ({len(found)} such rows); check the timestamps")
