"""Teaching a task by another model of it, usually the full one: late interaction is won back so (paper 3.3, 4.3).

A student that reads segments alone below L' is told, for each training row, what the teacher's final hidden state at
the read-out was. States say more than labels, they do not depend on the task, and they are computed once.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from m6rec_core.types import TaskView


class Teaching:
    """What a teacher's states add to the loss of each sample.

    Per text row: `weight` * |student - teacher|^2 / V + `score_weight` * KL(teacher's choice || student's choice). V is
    the variance of the teacher's states over the training rows (1 is what the mean state would cost), a choice is the
    softmax over the soft options of each. A sample gets the mean of its rows. The student's own parts get the
    gradients, the teacher is constant.
    """

    def __init__(
        self,
        key: str,
        states: Tensor,
        counts: Sequence[int],
        options: Tensor | None = None,
        weight: float = 1.0,
        score_weight: float = 1.0,
    ) -> None:
        """Teach with `states` [R, D], the rows of the training samples in their order, `counts` [N] of each sample.

        `options` [C, D]: the teacher's soft options, None for tasks that do not choose among them. `key`: a digest of
        what is taught.
        """
        self.key = key
        self._states = states
        self._starts = torch.tensor([0, *counts]).cumsum(0)
        self._counts = torch.tensor(list(counts))
        centred = states.double() - states.double().mean(0)
        self._variance = max(float(centred.square().sum(1).mean()), 1e-12)
        self._options = options
        self._weight, self._score_weight = weight, score_weight

    def __call__(self, view: TaskView, indices: Sequence[int]) -> Tensor:
        """The term of each sample [N] of `view`, whose places in the training part are `indices`."""
        place = torch.tensor(list(indices), dtype=torch.int64)
        owner = view.sample_of_row.cpu()
        count = self._counts[place]
        ordinal = torch.arange(len(owner)) - (count.cumsum(0) - count)[owner]  # rows of a sample lie side by side
        rows = self._starts[place][owner] + ordinal
        target = self._states[rows.to(self._states.device)].to(view.hidden)
        term = (self._weight / self._variance) * (view.hidden - target).square().sum(-1)
        if self._options is not None and view.options is not None and self._score_weight:
            term = term + self._score_weight * self._choice(view.hidden, target, view.options)
        total = term.new_zeros(len(view.samples)).index_add(0, view.sample_of_row, term)
        return total / count.to(total)

    def _choice(self, hidden: Tensor, target: Tensor, options: Tensor) -> Tensor:
        """KL divergence [R] of the student's choice among the options from the teacher's."""
        if self._options is None:
            return hidden.new_zeros(len(hidden))
        known = torch.log_softmax(target @ self._options.to(target).T, dim=-1)
        own = torch.log_softmax(hidden @ options.to(hidden.dtype).T, dim=-1)
        return (known.exp() * (known - own)).sum(-1)


@torch.no_grad()
def start_as(student: nn.Module, teacher: nn.Module) -> int:
    """Copy the teacher's tensors to those of the same name and shape of the student; return how many there were."""
    known = teacher.state_dict()
    found = 0
    for name, value in student.state_dict().items():
        if name in known and known[name].shape == value.shape:
            value.copy_(known[name])
            found += 1
    return found
