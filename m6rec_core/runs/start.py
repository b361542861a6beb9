"""Where tuning starts from: soft options or a head fitted to the frozen backbone's states of the training rows."""

from __future__ import annotations

from itertools import accumulate
from typing import TYPE_CHECKING

import torch

from m6rec_core.errors import RegistryError
from m6rec_core.model import M6Rec
from m6rec_core.runs.progress import counting
from m6rec_core.runs.record import Prepared
from m6rec_core.serving.scoring import own_packs
from m6rec_core.tokens.batching import collate
from m6rec_core.training.gather import gather_rows
from m6rec_core.tuning.fit import PRIOR_ROWS, fit_options
from m6rec_core.types import ClassHead, FittedHead

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
        states, sample_of_row = _states(prepared, model.to(accelerator.device), accelerator, shown)
        device = accelerator.device
        head.fit(prepared.rows.samples("train"), states.to(device), sample_of_row.to(device))
        return True
    options = tuned.tuning.options()
    if soft is None or options is None or not isinstance(head, ClassHead):
        return False
    states, sample_of_row = _states(prepared, model.to(accelerator.device), accelerator, shown)
    if len(states) != int(sample_of_row[-1]) + 1:
        raise RegistryError(
            f"task {prepared.task.name!r}: a head with `option_indices` needs samples of one text row each"
        )
    label = _labels(head, prepared, len(options))
    soft.prompts[-len(options) :] = fit_options(states, label, options.cpu(), PRIOR_ROWS / len(label)).to(options)
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


def _states(prepared: Prepared, model: M6Rec, accelerator: Accelerator, shown: bool) -> tuple[Tensor, Tensor]:
    """Read-out states [R, D] of the training samples' rows in their order, and the sample of each row [R]; the same on
    every rank, on the CPU.
    """
    name, packs = prepared.task.name, prepared.parts["train"].packs
    rows_of = [0] * prepared.parts["train"].samples
    for pack in packs:
        for sample in (s for tree in pack.trees for s in tree.samples):
            rows_of[sample.index] = len(sample.rows)
    first = [0, *accumulate(rows_of)]
    own = own_packs(packs, accelerator)
    places: list[int] = []
    states: list[Tensor] = []
    model.eval()
    with counting("reading training rows", sum(pack.samples for pack in own), shown) as tick:
        for pack in own:
            batch = collate([pack], model.backbone.spec.vocabulary).to(accelerator.device)
            view = model.views(batch)[name]
            places.extend(
                place for index in batch.tasks[name].indices for place in range(first[index], first[index + 1])
            )
            states.append(view.hidden)
            tick(len(view.samples))
    width = prepared.backbone.spec.hidden
    table = torch.cat(states) if states else torch.zeros(0, width, dtype=_float(model), device=accelerator.device)
    gathered = gather_rows(accelerator, torch.tensor(places, dtype=torch.int64), table, first[-1])
    return gathered, torch.repeat_interleave(torch.tensor(rows_of))


def _float(model: M6Rec) -> torch.dtype:
    """The type of read-out states."""
    return torch.promote_types(model.backbone.dtype, torch.float32)
