"""Which packs a step sees, and which rank runs them when: a pure function of (seed, epoch) and the sizes of the packs.

The set of packs of a step depends neither on the number of ranks nor on how many packs go through one forward, so the
objective of the step (see `objective`) does not either. Shuffling orders the packs by a hash, which is the same on
every platform and version, and leaves no generator state to save.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import pairwise
from typing import Protocol


class PackLike(Protocol):
    """What the loop must know of a pack: how many text rows and samples it holds, and its length in tokens."""

    @property
    def rows(self) -> int:
        """Number of text rows."""

    @property
    def samples(self) -> int:
        """Number of samples, each of which has one loss."""

    @property
    def tokens(self) -> int:
        """Length in tokens."""


@dataclass(frozen=True, slots=True)
class Forward:
    """The packs (indices into all packs) of one forward on one rank.

    `counted` is False for a repeated forward of weight zero: DistributedDataParallel needs the same number of forwards
    on every rank, and a step may have fewer packs than there are ranks.
    """

    packs: tuple[int, ...]
    counted: bool = True


@dataclass(frozen=True, slots=True)
class Step:
    """One optimiser step: its number (from 0), its epoch (from 0) and its packs (indices, in shuffled order).

    A task whose loss looks across rows (`LossScope.BATCH`) sees the rows of the whole step, however it is dealt
    (`m6rec_core.training.batch_scope`).
    """

    number: int
    epoch: int
    packs: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """All steps of a run: `count` packs, shuffled anew in each epoch, `packs_per_step` to a step, `steps` steps."""

    count: int
    packs_per_step: int
    seed: int
    steps: int

    @property
    def steps_per_epoch(self) -> int:
        """Steps of a whole epoch; the last of them may be smaller."""
        return -(-self.count // self.packs_per_step)

    def epoch(self, epoch: int, start: int = 0) -> list[Step]:
        """Return the steps of one epoch (from 0) whose number is at least `start`, in order; empty past the end."""
        per_epoch, size = self.steps_per_epoch, self.packs_per_step
        first, last = max(start, epoch * per_epoch), min(self.steps, (epoch + 1) * per_epoch)
        if first >= last:
            return []
        order = shuffled(self.count, self.seed, epoch)
        places = ((number, (number - epoch * per_epoch) * size) for number in range(first, last))
        return [Step(number, epoch, tuple(order[place : place + size])) for number, place in places]


def make_plan(count: int, packs_per_step: int, epochs: int, max_steps: int | None, seed: int) -> Plan:
    """Plan `epochs` passes over `count` packs, cut short at `max_steps`. The last step of an epoch may be smaller."""
    steps = epochs * -(-count // packs_per_step)
    return Plan(count, packs_per_step, seed, steps if max_steps is None else min(steps, max_steps))


def shuffled(count: int, seed: int, epoch: int) -> list[int]:
    """Return 0 .. count-1 in an order that depends on (seed, epoch) only, the same on every machine and version."""
    return sorted(range(count), key=lambda index: blake2b(f"{seed}/{epoch}/{index}".encode(), digest_size=8).digest())


def deal(step: Step, packs: Sequence[PackLike], packs_per_forward: int, ranks: int) -> tuple[tuple[Forward, ...], ...]:
    """Cut a step into forwards of packs of similar length and deal them to the ranks.

    Packs are sorted by length, longest first, and cut into ranks x F pieces whose sizes differ by at most one, with F
    the fewest forwards per rank that keep every piece within `packs_per_forward`. Rank r takes pieces r, r + ranks and
    so on: at any moment all ranks work on packs of about the same length. With fewer packs than ranks, the ranks left
    over repeat a forward with weight zero.

    Returns:
        For each rank its forwards, the same number for every rank.
    """
    order = sorted(step.packs, key=lambda index: (-packs[index].tokens, index))
    rounds = -(-len(order) // (packs_per_forward * ranks))
    pieces = min(len(order), rounds * ranks)
    bounds = [piece * len(order) // pieces for piece in range(pieces + 1)]
    forwards = [Forward(tuple(order[a:b])) for a, b in pairwise(bounds)]
    spare = Forward(forwards[-1].packs, counted=False)
    forwards += [spare] * (rounds * ranks - pieces)
    return tuple(tuple(forwards[rank::ranks]) for rank in range(ranks))


def milestones(total: int, count: int) -> frozenset[int]:
    """Return `count` numbers of completed steps, evenly spaced up to `total`; fewer when there are fewer steps."""
    return frozenset(-(-mark * total // count) for mark in range(1, count + 1)) - {0} if count else frozenset()


def step_seed(seed: int, step: int, rank: int) -> int:
    """Return the seed of the random numbers (dropout) that one rank draws in one step: nothing else needs saving."""
    return int.from_bytes(blake2b(f"{seed}/{step}/{rank}".encode(), digest_size=8).digest()) >> 1
