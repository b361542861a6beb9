"""The protocol of tasks that bring their own `Evaluation`: the run answers for samples, the task says what it means."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from m6rec_core.assemble import assemble, encode
from m6rec_core.config import EvaluationConfig, Mode, TrainingConfig
from m6rec_core.decoding.writing import writer
from m6rec_core.errors import RegistryError
from m6rec_core.files import replacing
from m6rec_core.logs.schema import Logs
from m6rec_core.model import M6Rec, TunedTask
from m6rec_core.registry import Task
from m6rec_core.runs.data import OwnRows, RunData, draw, own_parts
from m6rec_core.runs.found import Clock, Found
from m6rec_core.runs.parquet_rows import ParquetRows
from m6rec_core.runs.progress import counting, say_line, silent
from m6rec_core.runs.record import Prepared
from m6rec_core.serving.distinct import KeptStates, decode_states, distinct_rows, read_states
from m6rec_core.serving.opening import Opened, summary_int
from m6rec_core.serving.scoring import gather_predictions, own_packs
from m6rec_core.serving.untuned import NOTHING_TUNED
from m6rec_core.tokens.batching import Pack, collate, plan_packs
from m6rec_core.training.accelerator import make_accelerator
from m6rec_core.training.gather import gather_rows
from m6rec_core.training.loop import EvaluateFn
from m6rec_core.tuning.modes import MODES
from m6rec_core.types import Answer, Evaluation, Prediction, Report, RunView, Sample

if TYPE_CHECKING:
    from accelerate import Accelerator


@dataclass(frozen=True, slots=True, eq=False)
class Asking:
    """Answers and losses of a model for any samples of its task, the work split over all processes."""

    tuned: TunedTask
    model: M6Rec
    pack_tokens: int
    accelerator: Accelerator
    shown: bool
    kept: KeptStates

    def answer(self, samples: Sequence[Sample], title: str) -> list[Prediction]:
        """See `m6rec_core.types.Answer`."""
        name, backbone = self.tuned.task.name, self.model.backbone
        encoded = encode(name, self.tuned, samples, backbone).samples
        found = distinct_rows(encoded)
        known = len(self.kept.known(self.model, name, found.rows))
        if found.saves(known):
            share = -(-(len(found.rows) - known) // self.accelerator.num_processes)
            with counting(f"{title}, new texts", share, self.shown and share > 0) as tick:
                states = read_states(
                    self.model, name, found, self.pack_tokens, self.accelerator.device, self.accelerator, tick,
                    self.kept,
                )  # fmt: skip
            return decode_states(self.model, name, samples, states, self.accelerator)
        packs = plan_packs(encoded, self.pack_tokens, backbone.causal)
        with counting(title, self._share(packs), self.shown) as tick:
            return gather_predictions(self.model, name, packs, self.accelerator, len(samples), tick=tick)

    @torch.no_grad()
    def losses(self, samples: Sequence[Sample], title: str) -> list[float]:
        """See `m6rec_core.types.Losses`."""
        name, packs = self.tuned.task.name, self._packs(samples)
        indices: list[int] = []
        found: list[torch.Tensor] = []
        self.model.eval()
        with counting(title, self._share(packs), self.shown) as tick:
            for pack in own_packs(packs, self.accelerator):
                batch = collate([pack], self.model.backbone.spec.vocabulary).to(self.accelerator.device)
                found.append(self.model(batch)[name].double().cpu())
                indices.extend(batch.tasks[name].indices)
                tick(batch.samples)
        values = torch.cat(found) if found else torch.zeros(0, dtype=torch.float64)
        places = torch.tensor(indices, dtype=torch.int64)
        return [float(v) for v in gather_rows(self.accelerator, places, values[:, None], len(samples))[:, 0]]

    def untuned(self, mode: Mode) -> Answer | None:
        """The same answers over the bare backbone, put together when it is asked for; None where the mode tuned it."""
        if MODES[mode].backbone:
            return None

        def answer(samples: Sequence[Sample], title: str) -> list[Prediction]:
            backbone, task = self.model.backbone, self.tuned.task
            bare = assemble(task, self.tuned.config, NOTHING_TUNED, backbone, 0).tuned
            return replace(self, tuned=bare, model=M6Rec(backbone, {task.name: bare}, writer)).answer(samples, title)

        return answer

    def _packs(self, samples: Sequence[Sample]) -> list[Pack]:
        backbone = self.model.backbone
        encoded = encode(self.tuned.task.name, self.tuned, samples, backbone)
        return plan_packs(encoded.samples, self.pack_tokens, backbone.causal)

    def _share(self, packs: Sequence[Pack]) -> int:
        return sum(pack.samples for pack in own_packs(packs, self.accelerator))


def view_of(
    prepared: Prepared, rows: OwnRows, model: M6Rec, accelerator: Accelerator, output: Path, shown: bool, progress: bool
) -> RunView:
    """The run as the task's evaluation sees it; `progress`: whether its answers show a bar."""
    config, tuned = prepared.config, prepared.assembled.tuned
    asking = Asking(tuned, model, config.training.pack_tokens, accelerator, shown and progress, prepared.kept)
    return RunView(
        parts=rows.parts,
        settings=tuned.config,
        evaluation=config.evaluation,
        logs=prepared.data if isinstance(prepared.data, Logs) else None,
        answer=asking.answer,
        losses=asking.losses,
        seed=config.training.seed,
        main=accelerator.is_main_process,
        say=say_line if shown else silent,
        output=output,
        untuned=asking.untuned(config.tuning.mode),
    )


def unchosen(prepared: Prepared, rows: OwnRows) -> bool:
    """Whether nothing is trained, so that there is no step to choose and none to tell of."""
    return not rows.parts["train"] or prepared.config.training.max_steps == 0


def validator(
    prepared: Prepared, rows: OwnRows, model: M6Rec, accelerator: Accelerator, output: Path, shown: bool
) -> EvaluateFn:
    """The task's own valid metrics; the first decides. Where nothing is trained it is not asked (`unchosen`)."""
    view = view_of(prepared, rows, model, accelerator, output, shown, progress=False)
    if unchosen(prepared, rows):
        return lambda: {"objective": 0.0}

    def evaluate() -> dict[str, float]:
        values = dict(_evaluation(prepared.task).valid(view))
        if not values:
            raise RegistryError(f"task {prepared.task.name!r}: its evaluation's `valid` returned no metric")
        return {"objective": next(iter(values.values())), **values}

    return evaluate


def find(
    prepared: Prepared, rows: OwnRows, model: M6Rec, accelerator: Accelerator, output: Path, clock: Clock, shown: bool
) -> Found | None:
    """The task's own report on the test part; None off the main process."""
    view = view_of(prepared, rows, model, accelerator, output, shown, progress=True)
    with clock.stage("score"):
        report = _tested(prepared.task, view)
    if not accelerator.is_main_process:
        return None
    return Found(
        tables=report.tables,
        facts=report.facts,
        metrics={"report": dict(report.metrics)},
        first_metric="objective",
        references={},
        write_predictions=lambda path: write_rows(path, report.predictions),
    )


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write a report's rows as parquet, atomically; nothing where there are none."""
    if not rows:
        return
    with replacing(path) as partial, ParquetRows(partial) as write:
        write(rows)


def report_pack(opened: Opened, data: RunData, split: str, rows: int | None, shown: bool) -> tuple[Report, int, int]:
    """The task's own report on up to `rows` samples of a part, for a pack; with the counts of samples used and there.

    The other parts are whole, so that baselines can learn from the training part.
    """
    seed = summary_int(opened.manifest, "seed") or 0
    whole = own_parts(opened.task, opened.settings, data, seed)
    used = draw(whole[split], rows, 0)
    accelerator = make_accelerator(TrainingConfig(), Path())
    tuned = opened.assembled.tuned
    asking = Asking(tuned, opened.model, opened.pack_tokens, accelerator, shown, KeptStates())
    view = RunView(
        parts={**whole, "test": used},
        settings=opened.settings,
        evaluation=EvaluationConfig(),
        logs=data if isinstance(data, Logs) else None,
        answer=asking.answer,
        losses=asking.losses,
        seed=seed,
        main=True,
        say=say_line if shown else silent,
        output=None,
        untuned=asking.untuned(opened.manifest.tuning.mode),
    )
    return _tested(opened.task, view), len(used), len(whole[split])


def _tested(task: Task, view: RunView) -> Report:
    report = _evaluation(task).test(view)
    if not isinstance(report, Report):
        raise RegistryError(f"task {task.name!r}: its evaluation's `test` returned no Report")
    return report


def _evaluation(task: Task) -> Evaluation:
    evaluation = task.manifest.evaluation
    if evaluation is None:
        raise RegistryError(f"task {task.name!r} has no evaluation of its own")
    return evaluation
