"""Where tuning starts from: the soft options fitted to the frozen backbone's read-out states of the training rows."""

from __future__ import annotations

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
from m6rec_core.types import ClassHead

if TYPE_CHECKING:
    from accelerate import Accelerator
    from torch import Tensor


@torch.no_grad()
def fit_start(prepared: Prepared, model: M6Rec, accelerator: Accelerator, shown: bool) -> bool:
    """Fit the soft options where the settings, the mode and the head allow it; return whether it was done.

    All ranks read their share of the training rows and then solve the same small problem.
    """
    tuned = prepared.assembled.tuned
    soft, head = tuned.tuning.soft, tuned.head
    options = tuned.tuning.options()
    if prepared.config.tuning.init != "fitted" or soft is None or options is None or not isinstance(head, ClassHead):
        return False
    states = _states(prepared, model.to(accelerator.device), accelerator, shown)
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


def _states(prepared: Prepared, model: M6Rec, accelerator: Accelerator, shown: bool) -> Tensor:
    """Read-out states [N, D] of the training samples, in their order, the same on every rank."""
    name, packs = prepared.task.name, prepared.parts["train"].packs
    own = own_packs(packs, accelerator)
    places: list[int] = []
    states: list[Tensor] = []
    model.eval()
    with counting("reading training rows", sum(pack.samples for pack in own), shown) as tick:
        for pack in own:
            batch = collate([pack], model.backbone.spec.vocabulary).to(accelerator.device)
            view = model.views(batch)[name]
            if len(view.hidden) != len(view.samples):
                raise RegistryError(f"task {name!r}: a head with `option_indices` needs samples of one text row each")
            places.extend(batch.tasks[name].indices)
            states.append(view.hidden)
            tick(len(view.samples))
    width = prepared.backbone.spec.hidden
    table = torch.cat(states) if states else torch.zeros(0, width, dtype=_float(model), device=accelerator.device)
    total = prepared.parts["train"].samples
    return gather_rows(accelerator, torch.tensor(places, dtype=torch.int64), table, total)


def _float(model: M6Rec) -> torch.dtype:
    """The type of read-out states."""
    return torch.promote_types(model.backbone.dtype, torch.float32)
