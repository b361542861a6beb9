"""How well an item goes with what a user liked and disliked before, counted strictly before each row.

Two items are alike when the same users had surprising outcomes on both in the same direction. A row's outcome minus
what item and user average led to expect is its residual; with C[i, j] the sum over users of the products of their
residuals on i and j, and N[i, j] the number of those users,

    taste(u, i) = sum over j in history(u) of residual(u, j) * C[i, j] / (N[i, j] + PAIRS)  /  |history(u)| ** NORM

This is item-based collaborative filtering (Sarwar et al. 2001; shrinkage as in Koren 2008) as a running count: nothing
at or after a row's own time can change its number.

Only rows that are asked for are counted, item by item: the outcomes of everyone who judged the item are laid between
the times of its asked rows and summed up from one row to the next. So a few thousand rows of a million cost seconds.
"""

from __future__ import annotations

from collections.abc import Iterator
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
"""Items that have pairs, first come first served; later ones have a taste of 0."""

EVENTS = 500
"""A user's latest outcomes that count, and how far apart in a user's sequence two outcomes of a pair may be."""

DECIMALS = 9
"""Digits after the point that are kept: what is left out is rounding of sums, which depends on what else was asked."""

CELLS = 4_000_000
"""Rows times items that are summed at a time: 64 MB."""


@dataclass(frozen=True, slots=True, eq=False)
class TasteMargins:
    """The taste of any of n rows, counted when it is asked for and then kept.

    `user`, `item` [n]: codes; `now` [n]: rank of each row's time. `of_item` [items]: the place of an item among those
    with pairs, or -1. The outcomes that count, each user's first of each item, lie user after user, oldest first, those
    of user u at `start[u] : start[u + 1]`: their `place`, `residual`, and the rank of the time from which they are
    `known`; `owner` says whose they are. `by_place`, `place_start`: outcomes grouped by place. `kept` [n]: what was
    counted before, else NaN.
    """

    user: IntArray
    item: IntArray
    now: IntArray
    of_item: IntArray
    start: IntArray
    owner: IntArray
    place: IntArray
    residual: FloatArray
    known: IntArray
    by_place: IntArray
    place_start: IntArray
    kept: FloatArray

    @classmethod
    def of(
        cls, user: IntArray, item: IntArray, now: IntArray, known: IntArray, counted: IntArray, residual: FloatArray
    ) -> TasteMargins:
        """Order the outcomes. `counted` [m]: rows with an outcome; `known` [m]: rank of the time from which each of
        them counts; `residual` [m]: see the module.
        """
        order = np.argsort(known, kind="stable")
        codes, first = np.unique(item[counted[order]], return_index=True)
        items = codes[np.argsort(first)][:ITEMS]
        of_item = np.full(int(item.max(initial=-1)) + 1, -1, np.int64)
        of_item[items] = np.arange(len(items))
        order = order[of_item[item[counted[order]]] >= 0]
        # Each user's first known outcome of an item: N counts users, and a habit is no evidence for a likeness.
        key = user[counted[order]] * max(len(items), 1) + of_item[item[counted[order]]]
        order = order[np.sort(np.unique(key, return_index=True)[1])]
        order = order[np.argsort(user[counted[order]], kind="stable")]
        owner, place = user[counted[order]], of_item[item[counted[order]]]
        return cls(
            user=user,
            item=item,
            now=now,
            of_item=of_item,
            start=_starts(owner, int(user.max(initial=-1)) + 1),
            owner=owner,
            place=place,
            residual=residual[order],
            known=known[order],
            by_place=np.argsort(place, kind="stable"),
            place_start=_starts(place, len(items)),
            kept=np.full(len(user), np.nan),
        )

    def margins(self, rows: IntArray) -> FloatArray:
        """Return the taste [k] of rows; 0 where nothing is known."""
        new = np.unique(rows[np.isnan(self.kept[rows])])
        self.kept[new] = 0.0
        place = self.of_item[self.item[new]]
        order = np.lexsort((self.now[new], place))
        new, place = new[order], place[order]
        edges = np.flatnonzero(np.r_[True, place[1:] != place[:-1]])
        for group in np.split(new, edges[1:]) if len(new) else ():
            if self.of_item[self.item[group[0]]] >= 0:
                self.kept[group] = np.round(self._of_item(group), DECIMALS)
        return self.kept[rows]

    def knows(self, row: int) -> bool:
        """Whether the taste of a row is counted already."""
        return not np.isnan(self.kept[row])

    def _of_item(self, rows: IntArray) -> FloatArray:
        """The taste of rows [k] of one item with a place, in order of time."""
        first, length = self._histories(rows)
        past = _ranges(first, length)
        place = int(self.of_item[self.item[rows[0]]])
        column = np.full(len(self.place_start) - 1, -1, np.int64)
        column[self.place[past]] = 0
        column[place] = -1
        wanted = np.flatnonzero(column == 0)
        column[wanted] = np.arange(len(wanted))
        value = np.zeros(len(past))
        line = np.repeat(np.arange(len(rows)), length)
        columns = column[self.place[past]]
        for begin, sums, users in self._sums(place, self.now[rows], column, len(wanted)):
            here = (line >= begin) & (line < begin + len(sums)) & (columns >= 0)
            at = line[here] - begin, columns[here]
            value[here] = self.residual[past[here]] * sums[at] / (users[at] + PAIRS)
        total = np.bincount(line, weights=value, minlength=len(rows))
        return np.asarray(total / np.maximum(length, 1) ** NORM, dtype=np.float64)

    def _histories(self, rows: IntArray) -> tuple[IntArray, IntArray]:
        """First outcome and number of outcomes [k] that count for each row: the latest known before it."""
        first = self.start[self.user[rows]]
        known = [
            np.searchsorted(self.known[a:b], now)
            for a, b, now in zip(first, self.start[self.user[rows] + 1], self.now[rows], strict=True)
        ]
        found = np.array(known, dtype=np.int64)
        return first + np.maximum(found - EVENTS, 0), np.minimum(found, EVENTS)

    def _sums(
        self, place: int, moments: IntArray, column: IntArray, width: int
    ) -> Iterator[tuple[int, FloatArray, FloatArray]]:
        """Yield C and N of a place with `width` others (`column` [places] numbers them, -1: not wanted) just before
        each of the ascending `moments` [k]: (first moment, C [c, width], N [c, width]), a piece at a time.
        """
        if not width:
            return
        judged = self.by_place[self.place_start[place] : self.place_start[place + 1]]
        judged = judged[self.known[judged] < moments[-1]]
        low = np.maximum(self.start[self.owner[judged]], judged - EVENTS)
        length = np.minimum(self.start[self.owner[judged] + 1], judged + EVENTS + 1) - low
        other = _ranges(low, length)
        wanted = np.flatnonzero(column[self.place[other]] >= 0)
        other, judged = other[wanted], np.repeat(judged, length)[wanted]
        moment = np.searchsorted(moments, np.maximum(self.known[other], self.known[judged]), side="right")
        cell = moment * width + column[self.place[other]]
        product = self.residual[other] * self.residual[judged]
        sums, users = np.zeros(width), np.zeros(width)
        size = max(1, CELLS // width)
        for begin in range(0, len(moments), size):
            count = min(size, len(moments) - begin)
            now = slice(None) if count == len(moments) else (moment >= begin) & (moment < begin + count)
            shift, cells = begin * width, count * width
            inside = cell[now] - shift
            piece = [
                np.bincount(inside, weights=weights, minlength=cells)[:cells].reshape(count, width)
                for weights in (product[now], None)
            ]
            piece = [np.cumsum(one, axis=0, dtype=np.float64) for one in piece]
            yield begin, piece[0] + sums, piece[1] + users
            sums, users = sums + piece[0][-1], users + piece[1][-1]


def _starts(codes: IntArray, size: int) -> IntArray:
    """Where each code below `size` starts [size + 1] when `codes` are sorted."""
    return np.concatenate([[0], np.cumsum(np.bincount(codes, minlength=size))]).astype(np.int64)


def _ranges(first: IntArray, length: IntArray) -> IntArray:
    """The numbers first, first + 1, ... of each range, one range after the other."""
    stop = np.cumsum(length)
    places: IntArray = np.arange(int(stop[-1]) if len(stop) else 0, dtype=np.int64)
    shift: IntArray = np.repeat(first - (stop - length), length)
    return places + shift
