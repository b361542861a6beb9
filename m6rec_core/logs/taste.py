"""How well an item goes with what a user liked and disliked before, counted strictly before each row.

Two items are alike when the same users had surprising outcomes on both in the same direction. A row's outcome minus
what item and user average led to expect is its residual; with C[i, j] the sum over users of the products of their
residuals on i and j, and N[i, j] the number of those users,

    taste(u, i) = sum over j in history(u) of residual(u, j) * C[i, j] / (N[i, j] + PAIRS)  /  |history(u)| ** NORM

This is item-based collaborative filtering (Sarwar et al. 2001; shrinkage as in Koren 2008) as a running count: nothing
at or after a row's own time can change its number.
"""

from __future__ import annotations

from dataclasses import dataclass, field

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
    pairs = _Pairs.of(item, counted[np.argsort(known, kind="stable")])
    asked = _groups(user, time)
    told = _groups(user[counted], known)
    moments = np.union1d([group.moment for group in asked], [group.moment for group in told])
    a = b = 0
    for moment in moments:
        while a < len(asked) and asked[a].moment == moment:
            rows = asked[a].rows
            result[rows] = pairs.taste(int(user[rows[0]]), pairs.slot[item[rows]])
            a += 1
        while b < len(told) and told[b].moment == moment:
            rows = told[b].rows
            pairs.learn(int(user[counted[rows[0]]]), pairs.slot[item[counted[rows]]], residual[rows])
            b += 1
    return result


@dataclass(frozen=True, slots=True)
class _Group:
    """Rows of one user at one moment."""

    moment: int
    rows: IntArray


def _groups(user: IntArray, moment: IntArray) -> list[_Group]:
    """Rows by (moment, user), in order of moment; rows of a group keep their order."""
    if not len(user):
        return []
    order = np.lexsort((user, moment))
    first = np.r_[True, (np.diff(user[order]) != 0) | (np.diff(moment[order]) != 0)]
    starts = np.flatnonzero(first)
    pieces = np.split(order, starts[1:])
    return [_Group(int(moment[piece[0]]), piece) for piece in pieces]


@dataclass(slots=True)
class _Past:
    """What is known of one user, oldest first: places of items, each once, and the residuals of their first outcome."""

    slots: IntArray
    residuals: FloatArray


@dataclass(slots=True)
class _Pairs:
    """Running sums over pairs of items. `product[i, j]` holds the pairs in which i became known after j."""

    slot: IntArray
    product: NDArray[np.float32]
    count: NDArray[np.float32]
    users: dict[int, _Past] = field(default_factory=dict)

    @classmethod
    def of(cls, item: IntArray, counted: IntArray) -> _Pairs:
        """Empty sums; `counted`: rows with an outcome, in the order in which they become known."""
        known, first = np.unique(item[counted], return_index=True)
        size = min(len(known), ITEMS)
        slot = np.full(int(item.max(initial=-1)) + 1, -1, np.int64)
        slot[known[np.argsort(first)][:size]] = np.arange(size)
        return cls(slot, np.zeros((size, size), np.float32), np.zeros((size, size), np.float32))

    def taste(self, user: int, slots: IntArray) -> FloatArray:
        """The taste of items for a user as things stand."""
        result = np.zeros(len(slots))
        past, inside = self.users.get(user), np.flatnonzero(slots >= 0)
        if past is None or not len(inside):
            return result
        rows, columns = slots[inside, None], past.slots[None, -EVENTS:]
        product = self.product[rows, columns] + self.product[columns, rows]
        count = self.count[rows, columns] + self.count[columns, rows]
        sums = (product / (count + PAIRS)) @ past.residuals[-EVENTS:]
        result[inside] = sums / columns.shape[1] ** NORM
        return result

    def learn(self, user: int, slots: IntArray, residuals: FloatArray) -> None:
        """Add outcomes of a user: pairs with what is known of them already, and with one another.

        A repeated item counts once: N counts users, and a habit is no evidence for a likeness.
        """
        past = self.users.get(user) or _Past(np.zeros(0, np.int64), np.zeros(0))
        first = np.sort(np.unique(slots, return_index=True)[1])
        fresh = first[(slots[first] >= 0) & ~np.isin(slots[first], past.slots)]
        new, weight = slots[fresh], residuals[fresh]
        history = past.slots[-EVENTS:]
        self.product[new[:, None], history[None]] += weight[:, None] * past.residuals[None, -EVENTS:]
        self.count[new[:, None], history[None]] += 1.0
        self.product[new[:, None], new[None]] += np.tril(np.outer(weight, weight), -1)
        self.count[new[:, None], new[None]] += np.tril(np.ones((len(new), len(new))), -1)
        self.users[user] = _Past(np.concatenate([past.slots, new]), np.concatenate([past.residuals, weight]))
