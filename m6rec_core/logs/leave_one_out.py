"""Leave one out: of each user's events in time order the last one tests, the one before it validates, the rest trains.

This is the protocol of the sequential-recommendation literature (SASRec, BERT4Rec and what follows them on ml-1m).
Events of equal time stay in the order of the file, as they do there: 77 % of ml-1m's events share their second with
another one of the same user, so the history of a target may hold events of the target's own second. That is the one
place of this project where a history is not strictly earlier than its target (docs/adr/0004-strict-time.md); the
counted statistics stay strict.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from m6rec_core.errors import ConfigError, DataError
from m6rec_core.logs.schema import Logs
from m6rec_core.logs.statistics import IntArray

BoolArray = NDArray[np.bool_]

HELD_OUT = 2
"""Events held out per user: one to validate, one to test."""

HeldOutPart = Literal["valid", "test"]


@dataclass(frozen=True, slots=True, eq=False)
class HeldOutRows:
    """N targets of one part, in the order of their users' codes.

    `user` [N] codes; `event` [N] the target's position in `logs.events`; `history` N arrays of positions in
    `logs.events`: everything that the user did before the target, oldest first (for the test part that includes the
    target of the valid part).
    """

    user: IntArray
    event: IntArray
    history: tuple[IntArray, ...]


@dataclass(frozen=True, slots=True, eq=False)
class LeaveOneOut:
    """The events of U users, grouped and in time order.

    `user_ids` [U] in the order of the users' first events; `item_ids` [I] in catalogue order (the items table's);
    `user`, `item` [m]: codes of each row of `logs.events`; `events`: U arrays of positions in `logs.events`, oldest
    first, equal times in file order.
    """

    user_ids: tuple[str, ...]
    item_ids: tuple[str, ...]
    user: IntArray
    item: IntArray
    events: tuple[IntArray, ...]

    def train_events(self) -> tuple[IntArray, ...]:
        """Return per user the positions [.] of the training events: all of them for users with fewer than 3."""
        return tuple(one[:-HELD_OUT] if len(one) > HELD_OUT else one for one in self.events)

    def train_items(self, unseen: BoolArray | None = None) -> tuple[IntArray, ...]:
        """Return per user the item codes [.] of the training events, without those of `unseen` [I] items."""
        sequences = tuple(self.item[one] for one in self.train_events())
        return sequences if unseen is None else tuple(one[~unseen[one]] for one in sequences)

    def rows(self, part: HeldOutPart) -> HeldOutRows:
        """Return the rows of a part; users with fewer than 3 events have none."""
        if part not in ("valid", "test"):
            raise ConfigError(f"there is no held-out part {part!r} (there are: valid, test)")
        back = 1 if part == "test" else HELD_OUT
        chosen = [(code, one) for code, one in enumerate(self.events) if len(one) > HELD_OUT]
        return HeldOutRows(
            user=np.array([code for code, _ in chosen], dtype=np.int64),
            event=np.array([one[-back] for _, one in chosen], dtype=np.int64),
            history=tuple(one[:-back] for _, one in chosen),
        )

    def item_codes(self, histories: Sequence[IntArray]) -> tuple[tuple[int, ...], ...]:
        """Return positions in `logs.events` as item codes, history by history."""
        return tuple(tuple(self.item[one].tolist()) for one in histories)


def leave_one_out(logs: Logs, keep: BoolArray | None = None) -> LeaveOneOut:
    """Split logs by leaving one out; `keep` [m] says which rows of `logs.events` count at all (None: every one).

    Every kept event is a positive, whatever its value, as in the literature. Raises DataError when no user has the 3
    events that it takes, or `keep` has another length than the events.
    """
    frame = logs.events
    kept = np.ones(len(frame), dtype=bool) if keep is None else np.asarray(keep, dtype=bool)
    if len(kept) != len(frame):
        raise DataError(f"leave one out: `keep` has {len(kept)} entries, the events table has {len(frame)} rows")
    user, user_ids = pd.factorize(frame["user_id"].to_numpy(dtype=object))
    position = {item_id: code for code, item_id in enumerate(logs.items["item_id"])}
    item = np.fromiter((position[one] for one in frame["item_id"]), dtype=np.int64, count=len(frame))
    # The events are sorted by (time, file order), so a stable sort by user keeps that order within each user.
    order = np.flatnonzero(kept)
    order = order[np.argsort(user[order], kind="stable")].astype(np.int64)
    borders = np.searchsorted(user[order], np.arange(1, len(user_ids)))
    events = tuple(np.split(order, borders))
    if not any(len(one) > HELD_OUT for one in events):
        raise DataError(
            f"{logs.source}: no user has 3 events or more; leaving one out needs one each to train and test"
        )
    return LeaveOneOut(
        user_ids=tuple(map(str, user_ids)),
        item_ids=tuple(map(str, logs.items["item_id"])),
        user=user.astype(np.int64),
        item=item,
        events=events,
    )


def unseen_items(split: LeaveOneOut, share: float, seed: int) -> BoolArray:
    """Draw the items to hold out of training: a mask [I], true for `share` of the items that have any event.

    The same seed and catalogue give the same items. Raises ConfigError for a share outside [0, 1).
    """
    if not 0.0 <= share < 1.0:
        raise ConfigError(f"unseen share {share:g}: give a number from 0 to below 1, such as .15")
    present = np.unique(np.concatenate([split.item[one] for one in split.events]))
    chosen = np.random.default_rng(seed).permutation(present)[: round(share * len(present))]
    mask = np.zeros(len(split.item_ids), dtype=bool)
    mask[chosen] = True
    return mask
