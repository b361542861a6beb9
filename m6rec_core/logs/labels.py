"""What an event came to: the label of a target, and when it was known.

- An event with a value of at least `at_least`, or of a kind in `positive_kinds`, is positive; with a lower value,
  negative.
- CTR and CVR from logs of several kinds: name the exposures in `target_kinds` (an impression, a click) and the
  response in `positive_kinds` (a click, a purchase). An exposure is positive when the same user's next target or
  positive event on the same item is a response (the last exposure before it takes the credit), and else negative.
- A response that is itself a target kind has no such exposure to credit: each row then says its own outcome, as in logs
  with one row for every exposure (`purchase` or `click`, whichever came of it). Do not list both a click and the
  purchase that followed it that way: the click would be a negative sample although the user bought.
- An exposure's outcome is known when the response comes, not before: statistics and histories of rows between the two
  do not see it.
- Anything else (a search, an event without a value) has no outcome: it may be history, but no target.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from m6rec_core.config import SamplingConfig
from m6rec_core.errors import ConfigError, DataError
from m6rec_core.logs.statistics import FloatArray, IntArray


@dataclass(frozen=True, slots=True, eq=False)
class Outcomes:
    """For m events: `liked` 1, 0 or NaN, `known` the time from which that holds, `target` whether the event is a
    target."""

    liked: FloatArray
    known: FloatArray
    target: NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Happenings:
    """The columns of m events, in time order: codes of user, item and kind, time in seconds, value, and row in the
    file."""

    user: IntArray
    item: IntArray
    kind: IntArray
    kinds: tuple[str, ...]
    time: FloatArray
    value: FloatArray
    row: IntArray


def outcomes(events: Happenings, sampling: SamplingConfig) -> Outcomes:
    """Decide label, its time and targets of m events.

    Raises ConfigError when a kind in the settings never occurs, DataError when a target has no label.
    """
    rule = sampling.label
    _known_kinds(sampling.target_kinds, "settings.sampling.target_kinds", events.kinds)
    _known_kinds(rule.positive_kinds, "settings.sampling.label.positive_kinds", events.kinds)
    target = (
        _of_kinds(events, sampling.target_kinds) if sampling.target_kinds else np.ones(len(events.time), dtype=bool)
    )
    positive = _of_kinds(events, rule.positive_kinds)
    liked = np.full(len(events.time), np.nan)
    if rule.at_least is not None:
        valued = ~np.isnan(events.value)
        liked[valued] = (events.value[valued] >= rule.at_least).astype(np.float64)
    liked[positive] = 1.0
    known = events.time.copy()
    if rule.positive_kinds:
        _credit(events, target, positive, liked, known)
    missing = np.flatnonzero(target & np.isnan(liked))
    if len(missing):
        first = missing[0]
        raise DataError(
            f"events, row {events.row[first]}, field 'value': an event of kind {events.kinds[events.kind[first]]!r} "
            f"has no value, so it has no label ({len(missing)} such rows); name the kinds to predict in "
            "settings.sampling.target_kinds and those that answer yes in settings.sampling.label.positive_kinds"
        )
    return Outcomes(liked, known, target)


def _credit(
    events: Happenings, target: NDArray[np.bool_], positive: NDArray[np.bool_], liked: FloatArray, known: FloatArray
) -> None:
    """Fill `liked` and `known` of exposures: positive when a response that is no target follows directly on the
    item."""
    response = positive & ~target
    taking_part = np.flatnonzero(target | response)
    pair = events.user[taking_part] * (int(events.item.max(initial=0)) + 1) + events.item[taking_part]
    order = np.argsort(pair, kind="stable")
    rows, pair = taking_part[order], pair[order]
    liked[target & np.isnan(liked)] = 0.0
    answered = np.flatnonzero((pair[:-1] == pair[1:]) & target[rows[:-1]] & response[rows[1:]])
    exposure, answer = rows[answered], rows[answered + 1]
    fresh = liked[exposure] < 1.0
    liked[exposure[fresh]] = 1.0
    known[exposure[fresh]] = events.time[answer[fresh]]


def _of_kinds(events: Happenings, names: tuple[str, ...]) -> NDArray[np.bool_]:
    return np.isin(events.kind, [code for code, name in enumerate(events.kinds) if name in names])


def _known_kinds(names: tuple[str, ...], setting: str, present: tuple[str, ...]) -> None:
    for name in names:
        if name not in present:
            raise ConfigError(f"{setting}: no event is of kind {name!r} (the events table has: {', '.join(present)})")
