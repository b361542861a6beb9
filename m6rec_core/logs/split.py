"""Which target rows train, validate and test. Always by time: a model is tested on what came after its training."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from m6rec_core.config import SplitRule
from m6rec_core.errors import DataError
from m6rec_core.logs.statistics import FloatArray, IntArray

SPLITS = ("train", "valid", "test")

DAY = 86_400.0
UTC_PLUS_8 = 8 * 3_600.0


def time_split(time: ArrayLike, rule: SplitRule) -> dict[str, IntArray]:
    """Split n rows by sorted time: the first `rule.train` of them, the next `rule.valid`, the rest.

    Rows of equal time never straddle a border: when a border falls among them, all of them go to the later part, so
    that a part starts strictly after the one before it ended. Returns ascending row indices for train, valid and test.
    Raises DataError when a part would be empty.
    """
    times = np.asarray(time, dtype=np.float64)
    moments = np.sort(times)
    cuts = []
    for share in (rule.train, rule.train + rule.valid):
        position = int(len(times) * share + 1e-9)
        cuts.append(moments[position] if position < len(times) else np.inf)
    part = np.searchsorted(np.asarray(cuts), times, side="right")
    return _checked({name: np.flatnonzero(part == code) for code, name in enumerate(SPLITS)})


def rechorus_days(time: ArrayLike, user: ArrayLike, item: ArrayLike, label: ArrayLike) -> dict[str, IntArray]:
    """Split as ReChorus does for ml-1m: by days, after an iterative 5-core counted on positives.

    Rows of users and items with fewer than 5 positives (label > 0) are dropped until none is left; days are counted
    from the first date in UTC+8, the authors' time zone; with M the last day, a row trains when its day is at most
    0.8 M, validates when at most 0.9 M, and else tests; valid and test keep users and items seen in train. `user` and
    `item` are codes from 0. Returns ascending row indices into the n given rows. Raises DataError when a part would
    be empty.
    """
    users, items = np.asarray(user, dtype=np.int64), np.asarray(item, dtype=np.int64)
    positive = np.asarray(label, dtype=np.float64) > 0
    kept = _five_core(users, items, positive)
    date = np.floor((np.asarray(time, dtype=np.float64) + UTC_PLUS_8) / DAY)
    day = date - (date[kept].min() if kept.any() else 0.0)
    last = int(day[kept].max()) if kept.any() else 0
    train = kept & (day <= int(last * 0.8))
    seen = np.isin(users, users[train]) & np.isin(items, items[train])
    valid = kept & ~train & (day <= int(last * 0.9)) & seen
    test = kept & (day > int(last * 0.9)) & seen
    parts = zip(SPLITS, (train, valid, test), strict=True)
    return _checked({name: np.flatnonzero(rows) for name, rows in parts})


def split_rows(
    rule: SplitRule, time: FloatArray, user: IntArray, item: IntArray, label: FloatArray
) -> dict[str, IntArray]:
    """Split n target rows by `rule`; see `time_split` and `rechorus_days`."""
    if rule.kind == "rechorus-days":
        return rechorus_days(time, user, item, label)
    return time_split(time, rule)


def _five_core(user: IntArray, item: IntArray, positive: NDArray[np.bool_]) -> NDArray[np.bool_]:
    kept = np.ones(len(user), dtype=bool)
    while True:
        counted = kept & positive
        by_user = np.bincount(user[counted], minlength=int(user.max(initial=0)) + 1)
        by_item = np.bincount(item[counted], minlength=int(item.max(initial=0)) + 1)
        still = kept & (by_user[user] >= 5) & (by_item[item] >= 5)
        if still.sum() == kept.sum():
            return kept
        kept = still


def _checked(parts: dict[str, IntArray]) -> dict[str, IntArray]:
    for name, rows in parts.items():
        if len(rows) == 0:
            raise DataError(
                f"the {name} part of the split would be empty: there are too few rows, or too few different times; "
                "give more events or other shares (settings.sampling.split.train, settings.sampling.split.valid)"
            )
    return parts
