"""One forward pass for a batch whose rows belong to several tasks, over one frozen backbone.

Per row the task chooses the soft prompts, the markers, the adapters and the head; the backbone is shared. The module is
wrapped once (by accelerate or DDP), so that one forward serves one task or seven.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn

from m6rec_core.config import TaskConfig
from m6rec_core.errors import M6RecError
from m6rec_core.tokens.batching import Batch, TaskRows
from m6rec_core.types import LossScope, Prediction, Sample, ScoredTokens, TaskView, TextRow

if TYPE_CHECKING:
    from m6rec_core.backbone.hf import Backbone
    from m6rec_core.registry import Task
    from m6rec_core.tuning.task import TaskTuning


@dataclass(frozen=True, slots=True)
class TunedTask:
    """A task with everything that was tuned for it: a loaded task pack."""

    task: Task
    config: TaskConfig
    tuning: TaskTuning
    head: nn.Module


@dataclass(frozen=True, slots=True)
class States:
    """What a head reads of some rows of one task, or gradients of that.

    `hidden` [R, D] at the read-outs, `scored` [M, D] at the positions that predict scored tokens.
    """

    hidden: Tensor
    scored: Tensor


@dataclass(frozen=True, slots=True)
class StateRows:
    """Whose states they are: N samples, and per text row [R] and scored token [M] what `TaskView` says of them."""

    samples: tuple[Sample, ...]
    sample_of_row: Tensor
    scored_ids: Tensor
    scored_row: Tensor

    def to(self, device: torch.device) -> StateRows:
        """The same with tensors on another device."""
        tensors = (self.sample_of_row, self.scored_ids, self.scored_row)
        return StateRows(self.samples, *(tensor.to(device) for tensor in tensors))


class M6Rec(nn.Module):
    """The backbone and the tuned tasks, by instance name (two configurations of one task are two instances)."""

    def __init__(self, backbone: Backbone, tasks: Mapping[str, TunedTask]) -> None:
        """Serve `tasks` by instance name; the backbone and the tuned modules are used as they are, not copied."""
        super().__init__()
        self.backbone = backbone
        self.tunings = nn.ModuleDict({name: t.tuning for name, t in tasks.items()})
        self.heads = nn.ModuleDict({name: t.head for name, t in tasks.items()})
        self._tasks = {name: t.task for name, t in tasks.items()}

    @property
    def batch_scope(self) -> frozenset[str]:
        """The tasks whose row losses depend on the other rows of a step (in-batch negatives)."""
        return frozenset(n for n, task in self._tasks.items() if task.manifest.loss_scope is LossScope.BATCH)

    def forward(self, batch: Batch, pulls: Mapping[str, States] | None = None) -> dict[str, Tensor]:
        """Losses per sample, float32 [N], for each task of the batch; the order is that of the task's samples.

        `pulls`: task -> the gradient of the objective with respect to its states in this batch. Such a task's loss is
        not computed: it gets the inner products of states and gradients [N], whose gradient is that of the objective.
        """
        views, pulls = self.views(batch), pulls or {}
        return {name: self._pulled(v, pulls[name]) if name in pulls else self._loss(v) for name, v in views.items()}

    @torch.no_grad()
    def states(self, batch: Batch) -> dict[str, States]:
        """The states of the batch's tasks of batch scope, for `loss_of`."""
        found = self.views(batch)
        return {n: States(found[n].hidden, found[n].scored.hidden) for n in sorted(self.batch_scope & set(found))}

    def loss_of(self, name: str, rows: StateRows, states: States) -> Tensor:
        """Losses per sample [N] of a task from states computed before, in any number of forwards."""
        return self._loss(
            TaskView(
                task=name,
                samples=rows.samples,
                sample_of_row=rows.sample_of_row,
                hidden=states.hidden,
                options=self._tuning(name).options(),
                scored=ScoredTokens(hidden=states.scored, ids=rows.scored_ids, row=rows.scored_row),
                vocabulary=self.backbone.vocabulary,
            )
        )

    def _loss(self, view: TaskView) -> Tensor:
        return self._tasks[view.task].compute_loss(self.heads[view.task], view)

    @staticmethod
    def _pulled(view: TaskView, pull: States) -> Tensor:
        """Sum of states times `pull` over the rows and scored tokens of each sample [N]."""
        rows = (view.hidden * pull.hidden).sum(-1)
        if len(view.scored.row):
            rows = rows.index_add(0, view.scored.row, (view.scored.hidden * pull.scored).sum(-1))
        return rows.new_zeros(len(view.samples)).index_add(0, view.sample_of_row, rows)

    @torch.no_grad()
    def predict(self, batch: Batch) -> dict[str, Sequence[Prediction]]:
        """Predictions per task, in the order of the task's samples."""
        views = self.views(batch)
        return {name: self._tasks[name].decode(self.heads[name], view, no_generation) for name, view in views.items()}

    def views(self, batch: Batch) -> dict[str, TaskView]:
        """Run the backbone once and hand every task the hidden states of its own rows."""
        unknown = sorted(set(batch.tasks) - set(self.tunings))
        if unknown:
            raise M6RecError(f"the batch holds rows of tasks without a loaded pack: {', '.join(unknown)}")
        backbone = self.backbone
        hidden = self._embed(batch)
        hidden = backbone.run(hidden, batch.layout, 0, backbone.spec.layers, ffn=self._ffn(batch))
        flat = hidden.reshape(-1, hidden.shape[-1])
        return {name: self._view(name, rows, flat) for name, rows in batch.tasks.items()}

    def _tuning(self, name: str) -> TaskTuning:
        return cast("TaskTuning", self.tunings[name])

    def _embed(self, batch: Batch) -> Tensor:
        """Text from the backbone's table, soft prompts and markers from each task's own; [G, T, D]."""
        text = self.backbone.embed(batch.ids)
        flat = text.reshape(-1, text.shape[-1])
        for name, rows in batch.tasks.items():
            tuning = self._tuning(name)
            if len(rows.prompt_places):
                flat = flat.index_put((rows.prompt_places,), tuning.prompts()[rows.prompt_slots].to(flat.dtype))
            if len(rows.marker_places):
                flat = flat.index_put((rows.marker_places,), tuning.markers()[rows.marker_slots].to(flat.dtype))
        return flat.view_as(text)

    def _ffn(self, batch: Batch) -> _MixedAdapters:
        rows = [(self._tuning(name), task_rows.tokens) for name, task_rows in batch.tasks.items()]
        return _MixedAdapters(rows)

    def _view(self, name: str, rows: TaskRows, flat: Tensor) -> TaskView:
        def states(places: Tensor) -> Tensor:
            normed = self.backbone.final_norm(flat[places])
            return normed.to(torch.promote_types(normed.dtype, torch.float32))

        return TaskView(
            task=name,
            samples=rows.samples,
            sample_of_row=rows.sample_of_row,
            hidden=states(rows.readout),
            options=self._tuning(name).options(),
            scored=ScoredTokens(hidden=states(rows.scored_from), ids=rows.scored_ids, row=rows.scored_row),
            vocabulary=self.backbone.vocabulary,
        )


class _MixedAdapters:
    """What the adapters of several tasks add in one layer: each task's adapter sees its own tokens only."""

    def __init__(self, rows: Sequence[tuple[TaskTuning, Tensor]]) -> None:
        self._rows = rows

    def __call__(self, layer: int, z: Tensor) -> Tensor | None:
        if len(self._rows) == 1:
            # One task: padding gets an adapter too, which nobody reads, and the gather and scatter are saved.
            return self._rows[0][0].ffn(layer, z)
        flat = z.reshape(-1, z.shape[-1])
        total: Tensor | None = None
        for tuning, places in self._rows:
            added = tuning.ffn(layer, flat[places])
            if added is not None:
                total = torch.zeros_like(flat) if total is None else total
                total = total.index_add(0, places, added.to(flat.dtype))
        return None if total is None else total.view_as(z)


def no_generation(rows: Sequence[TextRow], max_new_tokens: int) -> Sequence[str]:
    """Stand in for the decoding stage: raise M6RecError, since this version scores only."""
    raise M6RecError(
        f"a task asked to continue {len(rows)} rows by {max_new_tokens} tokens, but this version scores only; "
        "generation comes with the decoding stage"
    )
