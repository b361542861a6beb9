"""One forward pass for a batch whose rows belong to several tasks, over one frozen backbone.

Per row the task chooses the soft prompts, the markers, the adapters and the head; the backbone is shared. The module is
wrapped once (by accelerate or DDP), so that one forward serves one task or seven.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, cast

import torch
from torch import Tensor, nn

from m6rec_core.config import DecodingConfig, TaskConfig
from m6rec_core.errors import M6RecError
from m6rec_core.tokens.batching import Batch, TaskRows
from m6rec_core.tokens.layout import soft_layout
from m6rec_core.tokens.markers import Marker
from m6rec_core.tokens.tree import Piece
from m6rec_core.tuning.mixed import MixedAdapters
from m6rec_core.tuning.sharing import SharedStates
from m6rec_core.types import (
    Generate,
    LossScope,
    Prediction,
    Sample,
    ScoredTokens,
    TaskView,
    TextRow,
    Written,
)

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


class SegmentStates(Protocol):
    """Where the lower layers' states of text segments come from under late interaction (`m6rec_core.late`)."""

    def gather(self, tuning: TaskTuning, below: int, pieces: Sequence[Piece]) -> Tensor:
        """Return the states of all tokens of `pieces`, in order, after the layers [0, below): [sum of lengths, D]."""
        ...


class Teacher(Protocol):
    """What is added to the losses of a task in training (`m6rec_core.tuning.teaching`); `key` says what it teaches."""

    key: str

    def __call__(self, view: TaskView, indices: Sequence[int]) -> Tensor:
        """Return one term per sample [N]; `indices` [N] are the samples' places in the training part."""
        ...


@dataclass(frozen=True, slots=True)
class States:
    """What a head reads of some rows of one task, or gradients of that.

    `hidden` [R, D] at the read-outs, `scored` [M, D] at the positions that predict scored tokens.
    """

    hidden: Tensor
    scored: Tensor


@dataclass(frozen=True, slots=True)
class StateRows:
    """Whose states they are: N samples, their places `indices` in the data set, and per text row [R] and scored token
    [M] what `TaskView` says of them.
    """

    samples: tuple[Sample, ...]
    indices: tuple[int, ...]
    sample_of_row: Tensor
    scored_ids: Tensor
    scored_row: Tensor

    def to(self, device: torch.device) -> StateRows:
        """The same with tensors on another device."""
        tensors = (self.sample_of_row, self.scored_ids, self.scored_row)
        return StateRows(self.samples, self.indices, *(tensor.to(device) for tensor in tensors))


Generation = Callable[["M6Rec", str], Generate]
"""Makes the `Generate` of a task instance: the decoding stage lies above the model, so it is handed in."""


class M6Rec(nn.Module):
    """The backbone and the tuned tasks, by instance name (two configurations of one task are two instances).

    `segments`: the segment cache of late interaction; None computes all layers in one pass. `shared`: what the forwards
    of a step share while it runs. `teachers`: by instance name, what is added to losses in train mode.
    """

    def __init__(
        self, backbone: Backbone, tasks: Mapping[str, TunedTask], generation: Generation | None = None
    ) -> None:
        """Serve `tasks` by instance name; the backbone and the tuned modules are used as they are, not copied.

        `generation` makes what `decode` is given as `generate`; without it a task that asks for text is refused.
        """
        super().__init__()
        self.backbone = backbone
        self.tunings = nn.ModuleDict({name: t.tuning for name, t in tasks.items()})
        self.heads = nn.ModuleDict({name: t.head for name, t in tasks.items()})
        self._tasks = {name: t.task for name, t in tasks.items()}
        self.segments: SegmentStates | None = None
        self.shared: SharedStates | None = None
        self.teachers: dict[str, Teacher] = {}
        self._kept: dict[str, tuple[tuple[object, ...], Tensor, Tensor]] = {}
        self._settings = {name: t.config for name, t in tasks.items()}
        self._generation = generation
        self._generate: dict[str, Generate] = {}

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
        return {
            name: self._pulled(view, pulls[name]) if name in pulls else self._loss(view, batch.tasks[name].indices)
            for name, view in views.items()
        }

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
                options=self.tuning(name).options(),
                scored=ScoredTokens(hidden=states.scored, ids=rows.scored_ids, row=rows.scored_row),
                vocabulary=self._vocabulary(name, bool((rows.scored_ids >= self.backbone.spec.vocabulary).any())),
            ),
            rows.indices,
        )

    def _loss(self, view: TaskView, indices: Sequence[int]) -> Tensor:
        loss = self._tasks[view.task].compute_loss(self.heads[view.task], view)
        if not self.training or view.task not in self.teachers:
            return loss
        return loss + self.teachers[view.task](view, indices)

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
        return {
            name: self._tasks[name].decode(self.heads[name], view, self.generate(name)) for name, view in views.items()
        }

    def decode(self, name: str, samples: tuple[Sample, ...], sample_of_row: Tensor, hidden: Tensor) -> list[Prediction]:
        """Predictions of samples from states [R, D] of their text rows, computed before; without scored tokens."""
        nothing = torch.zeros(0, dtype=torch.int64, device=hidden.device)
        view = TaskView(
            task=name,
            samples=samples,
            sample_of_row=sample_of_row,
            hidden=hidden,
            options=self.tuning(name).options(),
            scored=ScoredTokens(hidden=hidden[:0], ids=nothing, row=nothing),
            vocabulary=self.backbone.vocabulary,
        )
        return list(self._tasks[name].decode(self.heads[name], view, self.generate(name)))

    def generate(self, name: str) -> Generate:
        """What continues rows of the task instance `name`; made once."""
        if name not in self._generate:
            # A writer runs all layers over whole rows, which is not what such a task was tuned with.
            tuning = self.tuning(name)
            able = self._generation is not None and not tuning.late_layers and not tuning.student_layers
            self._generate[name] = self._generation(self, name) if able and self._generation else no_generation
        return self._generate[name]

    def views(self, batch: Batch) -> dict[str, TaskView]:
        """Run the backbone once and hand every task the hidden states of its own rows."""
        unknown = sorted(set(batch.tasks) - set(self.tunings))
        if unknown:
            raise M6RecError(f"the batch holds rows of tasks without a loaded pack: {', '.join(unknown)}")
        backbone, layers = self.backbone, self._depth(batch)
        rows = [(name, batch.tasks[name]) for name in batch.tasks]
        read = torch.cat([places for _, r in rows for places in _read_by(r)])
        adapters = self.ffn(batch)
        late = self._late_layers(batch)
        hidden = self._entering(batch, layers - late, adapters) if late else self.embed(batch)
        hidden = backbone.run(hidden, batch.layout, layers - late if late else 0, layers, adapters, read=read)
        sizes = [len(places) for _, r in rows for places in _read_by(r)]
        parts = iter(torch.split(hidden, sizes))
        return {name: self._view(name, r, next(parts), next(parts), next(parts)) for name, r in rows}

    def tuning(self, name: str) -> TaskTuning:
        """The tuned parts of the task instance `name`."""
        return cast("TaskTuning", self.tunings[name])

    def _depth(self, batch: Batch) -> int:
        """How many layers of the backbone the tasks in the batch use."""
        found = {self.tuning(name).depth(self.backbone.spec.layers) for name in batch.tasks}
        if len(found) > 1:
            raise M6RecError(
                f"tasks of {' and '.join(map(str, sorted(found)))} layers cannot share a batch: tune them with the "
                "same tuning.student_layers"
            )
        return found.pop()

    def _late_layers(self, batch: Batch) -> int:
        """K of the tasks in the batch: how many upper layers see whole rows; 0 for the full model."""
        found = {self.tuning(name).late_layers for name in batch.tasks}
        if len(found) > 1:
            raise M6RecError(
                f"tasks with {' and '.join(map(str, sorted(found)))} late layers cannot share a batch: tune them with "
                "the same tuning.late_layers"
            )
        return found.pop()

    def settings(self, name: str) -> TaskConfig:
        """The settings of the task instance `name`."""
        return self._settings[name]

    def stop_logits(self, name: str, hidden: Tensor) -> Tensor:
        """Logits [..] of [EOS] for final-norm hidden states [.., D]: the marker's embedding is one more output row.

        As with tied embeddings, a marker is read out by the vector that writes it in. It belongs to the task.
        """
        row = self.tuning(name).markers()[Marker.TARGET_END]
        dtype = torch.promote_types(hidden.dtype, row.dtype)
        return hidden.to(dtype) @ row.to(dtype)

    def embed(self, batch: Batch) -> Tensor:
        """Text from the backbone's table, soft prompts and markers from each task's own; [G, T, D].

        Prompts that enter above the lower layers (`late_prompts`) are not among them.
        """
        text = self.backbone.embed(batch.ids)
        flat = text.reshape(-1, text.shape[-1])
        for name, rows in batch.tasks.items():
            tuning = self.tuning(name)
            if len(rows.prompt_places) and not tuning.late_prompts:
                flat = flat.index_put((rows.prompt_places,), tuning.prompts()[rows.prompt_slots].to(flat.dtype))
            if len(rows.marker_places):
                flat = flat.index_put((rows.marker_places,), tuning.markers()[rows.marker_slots].to(flat.dtype))
        return flat.view_as(text)

    def _entering(self, batch: Batch, below: int, adapters: MixedAdapters) -> Tensor:
        """What enters layer `below` = L - K under late interaction [G, T, D] (paper 3.3, Fig. 4).

        Each segment's states after the layers [0, below), from the segment cache or in one pass, plus the segment
        embeddings. Soft prompts are a segment of their own, or enter only here (`late_prompts`), as summaries do.
        """
        if self._cached(batch, below):
            flat = self._from_cache(batch, below)
        else:
            lower = self.backbone.run(self.embed(batch), batch.layout, 0, below, adapters, scope="segment")
            flat = lower.reshape(-1, lower.shape[-1])
        for name, rows in batch.tasks.items():
            tuning = self.tuning(name)
            if tuning.summaries is not None and len(rows.summary_places):
                content = tuning.summaries(flat[rows.summarised], rows.summary_of, rows.summary_slots)
                flat = flat.index_put((rows.summary_places,), content.to(flat.dtype))
            if tuning.late_prompts and len(rows.prompt_places):
                flat = flat.index_put((rows.prompt_places,), tuning.prompts()[rows.prompt_slots].to(flat.dtype))
            if tuning.segments is not None:
                flat = flat.index_add(0, rows.tokens, tuning.segments(rows.slots).to(flat.dtype))
        return flat.view(*batch.ids.shape, -1)

    def _cached(self, batch: Batch, below: int) -> bool:
        """Whether the lower layers' states may come from the cache: there is one, and they need no gradient."""
        if self.segments is None or below == 0:
            return False
        if not torch.is_grad_enabled():
            return True
        lower = [p for name in batch.tasks for p in self.tuning(name).adapter_state(below)]
        return not any(p.requires_grad for p in [*lower, self.backbone.embedding])

    def _from_cache(self, batch: Batch, below: int) -> Tensor:
        """States after the lower layers [G * T, D]: text from the cache, prompts and markers (which train) computed."""
        backbone = self.backbone
        flat = torch.zeros(batch.ids.numel(), backbone.spec.hidden, dtype=backbone.dtype, device=batch.ids.device)
        for name, rows in batch.tasks.items():
            tuning = self.tuning(name)
            if len(rows.text_places) and self.segments is not None:
                flat[rows.text_places] = self.segments.gather(tuning, below, rows.pieces).to(flat)
            own = tuning.late_prompts or not len(rows.prompt_places)
            if own and not len(rows.marker_places):
                continue
            prompts, markers = self._soft_states(name, below, not own, bool(len(rows.marker_places)))
            if not own:
                flat = flat.index_put((rows.prompt_places,), prompts[rows.prompt_slots])
            if len(rows.marker_places):
                flat = flat.index_put((rows.marker_places,), markers[rows.marker_slots])
        return flat

    def _soft_states(self, name: str, below: int, prompts: bool, markers: bool) -> tuple[Tensor, Tensor]:
        """A task's prompts [P, D] and markers [5, D] after the layers [0, below); without gradient they are kept."""
        tuning = self.tuning(name)
        used = [*([tuning.prompts()] if prompts else []), *([tuning.markers()] if markers else [])]
        count = len(tuning.prompts()) if prompts else 0
        tag = (below, prompts, markers, *((t.data_ptr(), t._version) for t in (*used, *tuning.adapter_state(below))))
        kept = None if self.backbone.embedding.requires_grad else self._kept.get(name)
        if not torch.is_grad_enabled() and kept is not None and kept[0] == tag:
            return kept[1], kept[2]

        def computed() -> Tensor:
            embedded = torch.cat(used).to(self.backbone.dtype)[None]
            layout = soft_layout(count, len(embedded[0]) - count, self.backbone.causal, embedded.device)
            return self.backbone.run(embedded, layout, 0, below, tuning, scope="segment")[0]

        if torch.is_grad_enabled() and self.shared is not None:
            states = self.shared.read((name, below, prompts, markers), computed)
        else:
            states = computed()
        if not torch.is_grad_enabled():
            self._kept[name] = (tag, states[:count], states[count:])
        return states[:count], states[count:]

    def ffn(self, batch: Batch) -> MixedAdapters:
        """The adapters of the batch's tasks, for `Backbone.run`."""
        rows = [(self.tuning(name), r.tokens) for name, r in batch.tasks.items()]
        return MixedAdapters(rows, [sum(map(len, _read_by(r))) for r in batch.tasks.values()])

    def _view(self, name: str, rows: TaskRows, readout: Tensor, scored: Tensor, pooled: Tensor) -> TaskView:
        def states(last: Tensor) -> Tensor:
            normed = self.backbone.final_norm(last)
            return normed.to(torch.promote_types(normed.dtype, torch.float32))

        hidden = states(readout)
        if len(pooled):
            count = 1 + torch.bincount(rows.pooled_row, minlength=len(hidden))
            hidden = hidden.index_add(0, rows.pooled_row, states(pooled)) / count[:, None]
        return TaskView(
            task=name,
            samples=rows.samples,
            sample_of_row=rows.sample_of_row,
            hidden=hidden,
            options=self.tuning(name).options(),
            scored=ScoredTokens(hidden=states(scored), ids=rows.scored_ids, row=rows.scored_row),
            vocabulary=self._vocabulary(name, rows.ends),
        )

    def _vocabulary(self, name: str, ends: bool) -> Callable[[Tensor], Tensor]:
        """The output layer; with `ends` one more logit, that of [EOS], as where text is written."""
        if not ends:
            return self.backbone.vocabulary

        def logits(hidden: Tensor) -> Tensor:
            text, stop = self.backbone.vocabulary(hidden), self.stop_logits(name, hidden)
            dtype = torch.promote_types(text.dtype, stop.dtype)
            return torch.cat([text.to(dtype), stop[..., None].to(dtype)], dim=-1)

        return logits


def _read_by(rows: TaskRows) -> tuple[Tensor, Tensor, Tensor]:
    """The places of a task's tokens whose last states are needed, in the order of `M6Rec._view`."""
    return rows.readout, rows.scored_from, rows.pooled


class NoGeneration:
    """Stands in where no generation was given: every call raises M6RecError."""

    def __call__(self, rows: Sequence[TextRow], max_new_tokens: int) -> Sequence[str]:
        """Refuse."""
        raise M6RecError(f"a task asked to continue {len(rows)} rows by {max_new_tokens} tokens, {_ONLY_SCORES}")

    def write(
        self, rows: Sequence[TextRow], config: DecodingConfig, allowed: Sequence[str] | None = None
    ) -> Sequence[Sequence[Written]]:
        """Refuse."""
        raise M6RecError(f"a task asked to write {config.texts} texts for each of {len(rows)} rows, {_ONLY_SCORES}")

    def stream(self, row: TextRow, config: DecodingConfig, allowed: Sequence[str] | None = None) -> Iterator[str]:
        """Refuse."""
        raise M6RecError(f"a task asked to stream a text, {_ONLY_SCORES}")


_ONLY_SCORES = (
    "but this model only scores: build it with generation=m6rec_core.decoding.writing.writer, and tune it with "
    "tuning.late_layers 0"
)
no_generation = NoGeneration()
