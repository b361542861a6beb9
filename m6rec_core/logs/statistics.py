"""The numbers known before each row, counted strictly before its time.

Rates are smoothed with three pseudo-ratings at the running global rate, so they lie in (0, 1) and a new item or user
has the global rate. Rows at the same time never see each other. Nothing after a row can change its numbers
(property-tested).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from m6rec_core.logs.taste import TasteMargins

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

COUNTED = ("item_rate", "user_rate", "recent_rate", "item_count", "user_count")
"""Columns of `count_before`: three rates in (0, 1) (`recent` is over the user's last ten) and two raw counts."""

STATISTICS = (*COUNTED, "taste_margin")
"""Columns of `Statistics.of`: the counted ones, and how well the item goes with the user's past
(`m6rec_core.logs.taste`; 0 where nothing is known)."""

USER_SHARE = 0.7
"""Weight of the user's rate beside the item's in the expected outcome (chosen on valid rows of ml-100k)."""

PSEUDO_RATINGS = 3.0
RECENT = 10


def count_before(
    user: ArrayLike, item: ArrayLike, time: ArrayLike, liked: ArrayLike, known: ArrayLike | None = None
) -> FloatArray:
    """Count the statistics of every row from rows strictly earlier than it.

    `user`, `item`, `time`, `liked` have n entries in any order; equal times keep their order for "the last ten".
    `liked` is 1, 0 or NaN; rows with NaN get statistics but do not count. `known` is when a row's outcome became
    known (default: its own time); a row counts only for rows later than that. With p = (g + 1.5) / (n + 3) the
    smoothed global rate, a rate of c positives among m rows is (c + 3 p) / (m + 3). Returns float64 [n, 5] in the
    order of `COUNTED`. Raises ValueError when a time is not finite.
    """
    return _count(user, item, time, liked, known)[0]


@dataclass(frozen=True, slots=True, eq=False)
class Statistics:
    """The statistics of n rows: `counts` [n, 5] as `count_before`, and the taste margins of rows that are asked for."""

    counts: FloatArray
    taste: TasteMargins

    def of(self, rows: IntArray) -> FloatArray:
        """Return float64 [k, 6] in the order of `STATISTICS`. Ask for many rows at a time: those of an item share."""
        return np.column_stack([self.counts[rows], self.taste.margins(rows)])


def statistics_before(
    user: ArrayLike, item: ArrayLike, time: ArrayLike, liked: ArrayLike, known: ArrayLike | None = None
) -> Statistics:
    """Count as `count_before`, and order what the taste margins of asked rows are counted from.

    The expected outcome of a row, whose difference from the true one is its residual, has the log odds
    logit(item_rate) + .7 (logit(user_rate) - logit(p)), all of them strictly before the row.
    """
    counts, prior, clock, counted = _count(user, item, time, liked, known)
    log_odds = [np.log(p / (1.0 - p)) for p in (counts[:, 0], counts[:, 1], prior)]
    expected = 1.0 / (1.0 + np.exp(-(log_odds[0] + USER_SHARE * (log_odds[1] - log_odds[2]))))
    residual = np.asarray(liked, dtype=np.float64)[counted] - expected[counted]
    users, items = (pd.factorize(np.asarray(key), use_na_sentinel=False)[0].astype(np.int64) for key in (user, item))
    return Statistics(counts, TasteMargins.of(users, items, clock.now, clock.known, counted, residual))


def _count(
    user: ArrayLike, item: ArrayLike, time: ArrayLike, liked: ArrayLike, known: ArrayLike | None
) -> tuple[FloatArray, FloatArray, _Clock, IntArray]:
    """Return the counted statistics [n, 5], the smoothed global rate [n], the clock and the counted rows [m]."""
    times = np.asarray(time, dtype=np.float64)
    outcome = np.asarray(liked, dtype=np.float64)
    since = times if known is None else np.asarray(known, dtype=np.float64)
    counted = np.flatnonzero(~np.isnan(outcome))
    if not (np.isfinite(times).all() and np.isfinite(since[counted]).all()):
        raise ValueError("times must be finite")
    moments = np.unique(np.concatenate([times, since[counted]]))
    clock = _Clock(np.searchsorted(moments, times), np.searchsorted(moments, since[counted]), len(moments) + 1)
    everyone = np.zeros(len(times), dtype=np.int64)
    total, likes = clock.before(everyone, counted, outcome[counted])
    rate = (likes + PSEUDO_RATINGS / 2) / (total + PSEUDO_RATINGS)
    prior = PSEUDO_RATINGS * rate
    result = np.empty((len(times), len(COUNTED)), dtype=np.float64)
    for column, (key, last) in enumerate(((item, None), (user, None), (user, RECENT))):
        codes = pd.factorize(np.asarray(key), use_na_sentinel=False)[0].astype(np.int64)
        count, positive = clock.before(codes, counted, outcome[counted], last)
        result[:, column] = (positive + prior) / (count + PSEUDO_RATINGS)
        if last is None:
            result[:, 3 + column] = count
    return result, rate, clock, counted


@dataclass(frozen=True, slots=True)
class _Clock:
    """Times as ranks: `now` [n] of every row, `known` [m] of every counted row, `size` above all of them."""

    now: IntArray
    known: IntArray
    size: int

    def before(
        self, key: IntArray, counted: IntArray, outcome: FloatArray, last: int | None = None
    ) -> tuple[FloatArray, FloatArray]:
        """Return for each row the number and the positives of counted rows of its key known strictly before it.

        (key, time) is packed into one integer, so that one stable sort and two binary searches do the work.
        """
        packed = key[counted] * self.size + self.known
        order = np.argsort(packed, kind="stable")
        packed = packed[order]
        sums = np.concatenate([[0.0], np.cumsum(outcome[order])])
        stop = np.searchsorted(packed, key * self.size + self.now, side="left")
        start = np.searchsorted(packed, key * self.size, side="left")
        if last is not None:
            start = np.maximum(start, stop - last)
        return (stop - start).astype(np.float64), sums[stop] - sums[start]
