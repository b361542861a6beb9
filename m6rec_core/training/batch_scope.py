"""Tasks whose row losses look across the step (`LossScope.BATCH`): one loss over all its packs, in fixed memory.

Gradient caching (Gao et al. 2021, "Scaling deep contrastive learning batch size under memory limited setup"):

1. every rank runs its forwards without gradient and keeps the states that heads read, which are small;
2. the states of all ranks are gathered and put in the order of the data set; every rank computes the same losses, and
   the gradient of the objective with respect to head, options and states;
3. every rank runs its forwards again, with gradient, and pulls the states' gradients through them (`M6Rec.forward`).

A step's loss therefore depends neither on the number of ranks nor on how many packs go through one forward, and memory
does not grow with the number of pairs. The price is one more forward without gradient.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import torch

from m6rec_core.model import StateRows, States
from m6rec_core.training.objective import check_counts, weighted_sum

if TYPE_CHECKING:
    from accelerate import Accelerator
    from torch import Tensor

    from m6rec_core.tokens.batching import Batch, TaskRows


@runtime_checkable
class ScopedModel(Protocol):
    """A model that can compute a loss from states; see `m6rec_core.model.M6Rec`."""

    @property
    def batch_scope(self) -> frozenset[str]:
        """The tasks of batch scope."""

    def states(self, batch: Batch) -> dict[str, States]:
        """The states of a batch, without gradient, of the tasks of batch scope in it."""

    def loss_of(self, name: str, rows: StateRows, states: States) -> Tensor:
        """The losses of a task from states."""


@dataclass(frozen=True, slots=True)
class Share:
    """One forward: the batch on its own, the rank that runs it, and whether it counts or only keeps time."""

    batch: Batch
    rank: int
    counted: bool


@dataclass(frozen=True, slots=True)
class ScopedLoss:
    """What came of a step's tasks of batch scope.

    `losses`: task -> row losses [N], without gradient. `pulls`: for each forward of this rank, task -> gradients of its
    states (empty where a forward has no row of such a task).
    """

    losses: Mapping[str, Tensor]
    pulls: tuple[Mapping[str, States], ...]


def scoped_tasks(model: ScopedModel, shares: Sequence[Share]) -> list[str]:
    """The tasks of batch scope that have rows in these forwards, sorted."""
    return sorted({name for share in shares for name in share.batch.tasks} & model.batch_scope)


def scoped_loss(
    model: ScopedModel,
    shares: Sequence[Share],
    names: Sequence[str],
    found: Sequence[Mapping[str, States]],
    weights: Mapping[str, float] | None,
    samples: int,
    accelerator: Accelerator,
) -> ScopedLoss:
    """Compute losses over the whole step and run backward on head and options.

    Args:
        model: not wrapped; its head and options get the objective's whole gradient on every rank.
        shares: all forwards of all ranks, in the same order on every rank.
        names: from `scoped_tasks`.
        found: the states of this rank's forwards, in the order of its shares.
        weights: as in `weighted_sum`.
        samples: of the whole step, all tasks.
        accelerator: the run's.
    """
    own = accelerator.process_index
    losses: dict[str, Tensor] = {}
    pulls: list[dict[str, States]] = [{} for share in shares if share.rank == own]
    leaves: dict[str, tuple[_Order, States]] = {}
    for name in names:
        order = _order(name, shares)
        hidden = _gather([s[name].hidden for s in found if name in s], order.rows_of_rank, accelerator)
        scored = _gather([s[name].scored for s in found if name in s], order.scored_of_rank, accelerator)
        states = States(hidden[order.rows].requires_grad_(), scored[order.scored].requires_grad_())
        leaves[name] = (order, states)
        losses[name] = model.loss_of(name, order.whole.to(hidden.device), states)
        check_counts({name: losses[name]}, len(order.whole.samples))
    accelerator.backward(weighted_sum(losses, weights) / samples)
    for name, (order, states) in leaves.items():
        _deal(name, order, states, shares, pulls, own)
    return ScopedLoss({name: rows.detach() for name, rows in losses.items()}, tuple(pulls))


@dataclass(frozen=True, slots=True)
class _Order:
    """From the order of gathering (rank by rank, forward by forward) to that of the data set.

    `rows` [R], `scored` [M]: place in the gathered order of each row and scored token; `rows_of_rank`,
    `scored_of_rank`: how many each rank brings.
    """

    whole: StateRows
    rows: Tensor
    scored: Tensor
    rows_of_rank: tuple[int, ...]
    scored_of_rank: tuple[int, ...]


def _order(name: str, shares: Sequence[Share]) -> _Order:
    ranks = 1 + max(share.rank for share in shares)
    parts: list[tuple[int, TaskRows]] = [
        (rank, share.batch.tasks[name])
        for rank in range(ranks)
        for share in shares
        if share.rank == rank and name in share.batch.tasks
    ]
    counted = torch.tensor(
        [share.counted for rank in range(ranks) for share in shares if share.rank == rank and name in share.batch.tasks]
    )
    samples = [sample for _, rows in parts for sample in rows.samples]
    index = torch.tensor([place for _, rows in parts for place in rows.indices], dtype=torch.int64)
    real = torch.repeat_interleave(counted, torch.tensor([len(rows.samples) for _, rows in parts]))
    kept = torch.nonzero(real).flatten()
    kept = kept[torch.argsort(index[kept], stable=True)]
    place = torch.full((len(samples),), -1, dtype=torch.int64)
    place[kept] = torch.arange(len(kept))
    sample_of_row = _joined([rows.sample_of_row for _, rows in parts], [len(rows.samples) for _, rows in parts])
    scored_row = _joined([rows.scored_row for _, rows in parts], [len(rows.sample_of_row) for _, rows in parts])
    rows_kept = _by(place[sample_of_row])
    row_place = torch.full((len(sample_of_row),), -1, dtype=torch.int64)
    row_place[rows_kept] = torch.arange(len(rows_kept))
    scored_kept = _by(row_place[scored_row])
    ids = torch.cat([rows.scored_ids for _, rows in parts])
    whole = StateRows(
        tuple(samples[int(one)] for one in kept), tuple(index[kept].tolist()), place[sample_of_row[rows_kept]],
        ids[scored_kept], row_place[scored_row[scored_kept]],
    )  # fmt: skip
    by_rank = [[rows for owner, rows in parts if owner == rank] for rank in range(ranks)]
    return _Order(
        whole,
        rows_kept,
        scored_kept,
        tuple(sum(len(rows.readout) for rows in own) for own in by_rank),
        tuple(sum(len(rows.scored_from) for rows in own) for own in by_rank),
    )


def _joined(parts: Sequence[Tensor], sizes: Sequence[int]) -> Tensor:
    """Indices into parts of the given sizes, as indices into the parts joined."""
    shift = 0
    found = []
    for part, size in zip(parts, sizes, strict=True):
        found.append(part.cpu() + shift)
        shift += size
    return torch.cat(found)


def _by(place: Tensor) -> Tensor:
    """Indices of the entries that have a place, sorted by it; entries of one place keep their order."""
    kept = torch.nonzero(place >= 0).flatten()
    return kept[torch.argsort(place[kept], stable=True)]


def _gather(own: Sequence[Tensor], counts: Sequence[int], accelerator: Accelerator) -> Tensor:
    """The states of all ranks [sum(counts), D], rank by rank, on every rank. A rank without any brings none."""
    if accelerator.num_processes == 1:
        return torch.cat(list(own))
    # A rank whose forwards hold no row of the task learns from the others how wide and how exact the states are.
    kind = torch.tensor([own[0].shape[-1], own[0].dtype is torch.float64] if own else [0, 0], dtype=torch.int64)
    width, double = accelerator.gather(kind.to(accelerator.device)).reshape(-1, 2).amax(0).tolist()
    longest, dtype = max(counts), torch.float64 if double else torch.float32
    padded = torch.zeros(longest, width, dtype=dtype, device=accelerator.device)
    if own:
        mine = torch.cat(list(own))
        padded[: len(mine)] = mine
    gathered = accelerator.gather(padded).reshape(len(counts), longest, width)
    return torch.cat([gathered[rank, :count] for rank, count in enumerate(counts)])


def _deal(
    name: str, order: _Order, states: States, shares: Sequence[Share], pulls: Sequence[dict[str, States]], own: int
) -> None:
    """Cut the gradients of a task's states into those of this rank's forwards; a repeated forward gets zeros."""
    hidden = _back(states.hidden, order.rows, sum(order.rows_of_rank))
    scored = _back(states.scored, order.scored, sum(order.scored_of_rank))
    row, token, number = sum(order.rows_of_rank[:own]), sum(order.scored_of_rank[:own]), 0
    for share in shares:
        if share.rank != own:
            continue
        if name in share.batch.tasks:
            rows = share.batch.tasks[name]
            stop, last = row + len(rows.readout), token + len(rows.scored_from)
            pulls[number][name] = States(hidden[row:stop], scored[token:last])
            row, token = stop, last
        number += 1


def _back(leaf: Tensor, order: Tensor, total: int) -> Tensor:
    """The gradient of a leaf in the order of gathering; zero for rows that do not count, or that no loss used."""
    found = leaf.new_zeros(total, leaf.shape[-1])
    if leaf.grad is not None:
        found[order.to(leaf.device)] = leaf.grad
    return found.detach()
