"""Where tuning starts from: soft options or a head fitted to the frozen backbone's states of the training rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from m6rec_core.errors import RegistryError
from m6rec_core.model import M6Rec
from m6rec_core.runs.progress import counting, say_line, silent
from m6rec_core.runs.record import Prepared
from m6rec_core.serving.distinct import distinct_rows, read_states
from m6rec_core.tuning.fit import PRIOR_ROWS, fit_options
from m6rec_core.types import ClassHead, FittedHead, RowStates

if TYPE_CHECKING:
    from accelerate import Accelerator
    from torch import Tensor


@torch.no_grad()
def fit_start(prepared: Prepared, model: M6Rec, accelerator: Accelerator, shown: bool) -> bool:
    """Fit what has a closed-form start where the settings allow it: a head that is a `FittedHead`, or the soft options
    of a `ClassHead` in a mode that has them. Returns whether it was done.

    All ranks read their share of the training rows and then solve the same small problem.
    """
    tuned = prepared.assembled.tuned
    soft, head = tuned.tuning.soft, tuned.head
    if prepared.config.tuning.init != "fitted":
        return False
    if isinstance(head, FittedHead):
        states = _states(prepared, model.to(accelerator.device), accelerator, shown)
        head.fit(prepared.rows.samples("train"), states, say_line if shown else silent)
        return True
    options = tuned.tuning.options()
    if soft is None or options is None or not isinstance(head, ClassHead):
        return False
    states = _states(prepared, model.to(accelerator.device), accelerator, shown)
    if len(states.index) != prepared.parts["train"].samples:
        raise RegistryError(
            f"task {prepared.task.name!r}: a head with `option_indices` needs samples of one text row each"
        )
    label = _labels(head, prepared, len(options))
    soft.prompts[-len(options) :] = fit_options(states.rows.cpu(), label, options.cpu(), PRIOR_ROWS / len(label)).to(
        options
    )
    return True


def _labels(head: ClassHead, prepared: Prepared, options: int) -> Tensor:
    label = torch.tensor(list(head.option_indices(prepared.rows.samples("train"))), dtype=torch.int64)
    wrong = label[(label < 0) | (label >= options)]
    if wrong.numel():
        raise RegistryError(
            f"task {prepared.task.name!r}: its head's `option_indices` gave {int(wrong[0])}, but there are {options} "
            "options: return 0 .. C-1"
        )
    return label


def _states(prepared: Prepared, model: M6Rec, accelerator: Accelerator, shown: bool) -> RowStates:
    """Read-out states of the training samples' rows in their order, each distinct row read once; the same on every
    rank.
    """
    found = distinct_rows(prepared.parts["train"].encoded)
    kept = prepared.kept if found.repeats else None
    budget = prepared.config.training.pack_tokens
    share = -(-len(found.rows) // accelerator.num_processes)
    with counting("reading training rows", share, shown) as tick:
        return read_states(model, prepared.task.name, found, budget, accelerator.device, accelerator, tick, kept)
