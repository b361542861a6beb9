"""`BaselineData` as the tensors of the network: made once, then sliced per batch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from m6rec_core.baselines.data import NO_EVENT, UNKNOWN_OUTCOME, BaselineData, IntArray
from m6rec_core.baselines.trivial import statistic_features
from m6rec_plugin_baselines.features import UNKNOWN, FieldTokens, known_ids, table_tokens
from m6rec_plugin_baselines.network import Rows, Sizes, Things

_NONE, _DISLIKED, _UNKNOWN = 0, 1, 3


@dataclass(frozen=True, slots=True)
class Table:
    """Users or items: `known` [codes], each code's embedding row (`UNKNOWN` if unseen); field tokens [codes, w]."""

    known: Tensor
    fields: tuple[Tensor, ...]

    def look_up(self, codes: Tensor, drop: Tensor | None = None) -> Things:
        """Return the things with these codes [...]; where `drop` [...] is true the id is hidden, the fields stay."""
        ids = self.known[codes]
        if drop is not None:
            ids = ids.masked_fill(drop, UNKNOWN)
        return Things(ids, tuple(tokens[codes] for tokens in self.fields))


@dataclass(frozen=True, slots=True)
class Drop:
    """The share of user ids and of item ids (candidates and history) hidden at random in training."""

    user: float
    item: float


@dataclass(frozen=True, slots=True)
class Inputs:
    """All rows as tensors. `history` [n, H] holds item codes (0 where empty), `outcome` [n, H] as in `Rows`."""

    users: Table
    items: Table
    user: Tensor
    candidate: Tensor
    history: Tensor
    outcome: Tensor
    numbers: Tensor
    label: Tensor
    sizes: Sizes

    def rows(self, index: Tensor, drop: Drop | None = None, generator: torch.Generator | None = None) -> Rows:
        """Return the rows `index` [B]; ids are dropped only when `drop` is given, drawn from `generator`."""
        user, candidate, history = self.user[index], self.candidate[index], self.history[index]

        def hidden(codes: Tensor, share: float) -> Tensor:
            return torch.rand(codes.shape, generator=generator) < share

        return Rows(
            user=self.users.look_up(user, None if drop is None else hidden(user, drop.user)),
            candidate=self.items.look_up(candidate, None if drop is None else hidden(candidate, drop.item)),
            history=self.items.look_up(history, None if drop is None else hidden(history, drop.item)),
            outcome=self.outcome[index],
            numbers=self.numbers[index],
        )


def _statistics(data: BaselineData, train: IntArray) -> Tensor:
    """Return logits of rates and logs of counts, standardised on the training rows, float32 [n, 6]."""
    numbers = statistic_features(data.statistics)
    mean, deviation = numbers[train].mean(axis=0), numbers[train].std(axis=0)
    return torch.from_numpy(((numbers - mean) / np.where(deviation > 0.0, deviation, 1.0)).astype(np.float32))


def _table(fields: tuple[FieldTokens, ...], codes: int, seen: IntArray) -> tuple[Table, int]:
    known, ids = known_ids(np.arange(codes, dtype=np.int64), seen)
    tokens = tuple(torch.from_numpy(field.tokens) for field in fields)
    return Table(torch.from_numpy(known), tokens), ids


def make_inputs(data: BaselineData, train: IntArray, statistics: bool) -> Inputs:
    """Turn the data into tensors; ids that the rows `train` never show (candidate or history) become `UNKNOWN`."""
    user_fields, item_fields = table_tokens(data.user_fields), table_tokens(data.item_fields)
    present = data.history_item != NO_EVENT
    history = np.where(present, data.history_item, 0)
    known = np.where(data.history_outcome == UNKNOWN_OUTCOME, _UNKNOWN, data.history_outcome + _DISLIKED)
    outcome = np.where(present, known, _NONE)
    seen = np.concatenate([data.item[train], history[train][present[train]]])
    user_rows = max([len(column) for column in data.user_fields.values()] + [int(data.user.max(initial=0)) + 1])
    item_codes = max(int(data.item.max(initial=0)), int(history.max(initial=0)))
    item_rows = max([len(column) for column in data.item_fields.values()] + [item_codes + 1])
    users, user_ids = _table(user_fields, user_rows, data.user[train])
    items, item_ids = _table(item_fields, item_rows, seen)
    numbers = _statistics(data, train) if statistics else torch.zeros(data.label.size, 0)
    return Inputs(
        users=users,
        items=items,
        user=torch.from_numpy(data.user),
        candidate=torch.from_numpy(data.item),
        history=torch.from_numpy(history.astype(np.int64)),
        outcome=torch.from_numpy(outcome.astype(np.int64)),
        numbers=numbers,
        label=torch.from_numpy(data.label.astype(np.float32)),
        sizes=Sizes(
            users=user_ids,
            items=item_ids,
            user_fields=tuple(field.size for field in user_fields),
            item_fields=tuple(field.size for field in item_fields),
            numbers=numbers.shape[1],
        ),
    )
