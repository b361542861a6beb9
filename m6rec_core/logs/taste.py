"""How well an item goes with what a user liked and disliked before, counted strictly before each row.

Two items are alike when the same users had surprising outcomes on both in the same direction. A row's outcome minus
what item and user average led to expect is its residual; with C[i, j] the sum over users of the products of their
residuals on i and j, and N[i, j] the number of those users,

    taste(u, i) = sum over j in history(u) of residual(u, j) * C[i, j] / (N[i, j] + PAIRS)  /  |history(u)| ** NORM

This is item-based collaborative filtering (Sarwar et al. 2001; shrinkage as in Koren 2008) as a running count: nothing
at or after a row's own time can change its number.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

PAIRS = 100.0
"""Pseudo-users that a pair of items begins with: pairs seen by few users say little."""

NORM = 0.25
"""Power of the history's length that the sum is divided by; chosen on valid rows of ml-100k, like PAIRS."""

ITEMS = 8_000
"""Items that get a place in the tables of pairs, first come first served (8 * ITEMS ** 2 bytes at most); later ones
have a taste of 0."""

EVENTS = 500
"""Latest events of a user that count."""


def taste_before(
    user: IntArray, item: IntArray, time: IntArray, known: IntArray, counted: IntArray, residual: FloatArray
) -> FloatArray:
    """Return the taste [n] of every row from counted rows that became known strictly before it.

    `user`, `item` [n]: codes. `time` [n]: rank of each row's time. `counted` [m]: rows with an outcome; `known` [m]:
    rank of the time from which each of them counts; `residual` [m]: see the module. 0 where nothing is known.
    """
    result = np.zeros(len(user))
    pairs = _Pairs.of(user[counted], item[counted], known)
    asked, told = _groups(user, time), _groups(user[counted], known)
    slot = np.full(int(item.max(initial=-1)) + 1, -1, np.int64)
    slot[pairs.items] = np.arange(len(pairs.items))
    slots, told_slots = slot[item], slot[item[counted]]
    b = 0
    for moment, rows in asked:
        while b < len(told) and told[b][0] < moment:
            pairs.learn(int(user[counted[told[b][1][0]]]), told_slots[told[b][1]], residual[told[b][1]])
            b += 1
        result[rows] = pairs.taste(int(user[rows[0]]), slots[rows])
    return result


def _groups(user: IntArray, moment: IntArray) -> list[tuple[int, IntArray]]:
    """(moment, rows of one user at that moment), in order of moment; rows of a group keep their order."""
    if not len(user):
        return []
    order = np.lexsort((user, moment))
    first = np.r_[True, (np.diff(user[order]) != 0) | (np.diff(moment[order]) != 0)]
    starts = np.flatnonzero(first)
    return list(zip(moment[order[starts]].tolist(), np.split(order, starts[1:]), strict=True))


@dataclass(frozen=True, slots=True)
class _Pairs:
    """Running sums over pairs of items, and what is known of each user.

    `items`: codes of the items with a place. `sums` [places, places, 2]: product of residuals and number of users, at
    [i, j] for those who were known to have judged i after j. A user's outcomes lie in `slots` and `residuals` [., 2]
    (residual, 1) from `start` on, `length` of them so far, oldest first, each item once: N counts users, and a habit is
    no evidence for a likeness. `seen`: user * places + place.
    """

    items: IntArray
    sums: NDArray[np.float32]
    slots: IntArray
    residuals: NDArray[np.float32]
    start: IntArray
    length: IntArray
    seen: set[int]

    @classmethod
    def of(cls, user: IntArray, item: IntArray, known: IntArray) -> _Pairs:
        """Empty sums for outcomes of `user` with `item` that become `known` in this order."""
        order = np.argsort(known, kind="stable")
        codes, first = np.unique(item[order], return_index=True)
        items = codes[np.argsort(first)][:ITEMS]
        counts = np.bincount(user, minlength=int(user.max(initial=0)) + 1)
        return cls(
            items=items,
            sums=np.zeros((len(items), len(items), 2), np.float32),
            slots=np.zeros(len(user), np.int64),
            residuals=np.ones((len(user), 2), np.float32),
            start=np.cumsum(counts) - counts,
            length=np.zeros(len(counts), np.int64),
            seen=set(),
        )

    def _past(self, user: int) -> slice:
        """Where the latest outcomes of a user lie."""
        stop = int(self.start[user] + self.length[user])
        return slice(max(int(self.start[user]), stop - EVENTS), stop)

    def taste(self, user: int, slots: IntArray) -> FloatArray:
        """The taste of items for a user as things stand; 0 for items without a place."""
        if user >= len(self.length) or not self.length[user]:
            return np.zeros(len(slots))
        past = self._past(user)
        history, rows = self.slots[past], slots[:, None]
        sums = self.sums[rows, history] + self.sums[history, rows]
        found = (sums[..., 0] / (sums[..., 1] + np.float32(PAIRS))) @ self.residuals[past, 0]
        taste: FloatArray = np.where(slots >= 0, found / len(history) ** NORM, 0.0)
        return taste

    def learn(self, user: int, slots: IntArray, residuals: FloatArray) -> None:
        """Add outcomes of a user: pairs with what is known of them already, and with one another."""
        for slot, residual in zip(slots.tolist(), residuals.tolist(), strict=True):
            key = user * len(self.items) + slot
            if slot < 0 or key in self.seen:
                continue
            self.seen.add(key)
            past = self._past(user)
            self.sums[slot, self.slots[past]] += self.residuals[past] * np.array((residual, 1.0), np.float32)
            stop = int(self.start[user] + self.length[user])
            self.slots[stop], self.residuals[stop, 0] = slot, residual
            self.length[user] += 1
