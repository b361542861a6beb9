from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState

from m6rec_core.config import TrainingConfig
from m6rec_core.errors import ConfigError, RunError
from m6rec_core.training.accelerator import make_accelerator
from m6rec_core.training.history import NAME, read_history
from m6rec_core.training.loop import TrainResult, train
from m6rec_core.training.progress import SilentProgress

CONFIG = TrainingConfig(epochs=2, lr=0.02, packs_per_step=6, packs_per_forward=2, evaluations=4)


@pytest.fixture(autouse=True)
def _fresh_state() -> Iterator[None]:
    """Accelerate keeps its state in class attributes, which outlive a test."""
    AcceleratorState._reset_state(reset_partial_state=True)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


class Notes(SilentProgress):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, text: str) -> None:
        self.lines.append(text)


def scripted(objectives: list[float]) -> Callable[[], Mapping[str, float]]:
    """An evaluation that returns the given objectives one after another."""
    answers = iter(objectives)
    return lambda: {"objective": next(answers)}


def fit(toy: ModuleType, output: Path, evaluate: Any, config: TrainingConfig = CONFIG, **options: Any) -> TrainResult:
    arguments = {"model": toy.Toy(), "packs": toy.make_packs(23), "collate": toy.collate, **options}
    accelerator = arguments.pop("accelerator", None) or make_accelerator(config, output, cpu=True)
    model, packs = arguments.pop("model"), arguments.pop("packs")
    return train(model, packs, evaluate, config, accelerator=accelerator, output=output, **arguments)


def test_training_improves_the_objective_and_writes_each_step(toy: ModuleType, tmp_path: Path) -> None:
    result, _, rows = toy.run(tmp_path, CONFIG)
    assert rows == sum(pack.samples for pack in toy.make_packs(11, seed=2))
    assert [e.step for e in result.evaluations] == [0, 2, 4, 6, 8]
    assert result.best.metrics["objective"] > result.evaluations[0].metrics["objective"]
    assert result.samples == 2 * sum(pack.samples for pack in toy.make_packs(23))
    history = read_history(tmp_path / NAME)
    assert [row["step"] for row in history] == list(range(9))
    assert [row["step"] for row in history if "valid" in row] == [0, 2, 4, 6, 8]
    rates = {"samples_per_second", "tokens_per_second"}
    assert set(history[1]) == {"step", "epoch", "samples", "loss", "losses", "lr", "grad_norm", "seconds"} | rates
    assert set(history[1]["losses"]) == {"first", "second"}


def test_frozen_parameters_are_neither_changed_nor_saved(toy: ModuleType, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    _, model, _ = toy.run(tmp_path, CONFIG)
    assert torch.equal(model.frozen, toy.Toy().frozen)
    assert not torch.equal(model.heads["first"].w1, toy.Toy().heads["first"].w1)
    saved = load_file(tmp_path / "checkpoints" / "step-00000008" / "tensors.safetensors")
    assert not [name for name in saved if "frozen" in name]
    assert len([name for name in saved if name.startswith("parameters/")]) == 6


def test_best_parameters_are_restored(toy: ModuleType, tmp_path: Path) -> None:
    model = toy.Toy()
    seen: list[torch.Tensor] = []
    answers = iter([0.1, 0.5, 0.5, 0.4, 0.3])

    def evaluate() -> dict[str, float]:
        assert not model.training
        seen.append(model.heads["first"].w1.detach().clone())
        return {"objective": next(answers)}

    result = fit(toy, tmp_path, evaluate, model=model)
    assert result.best.step == 2
    assert not result.stopped_early
    assert torch.equal(model.heads["first"].w1, seen[1])
    assert not torch.equal(seen[1], seen[2])


def test_untuned_start_is_a_candidate(toy: ModuleType, tmp_path: Path) -> None:
    model = toy.Toy()
    result = fit(toy, tmp_path, scripted([0.9, 0.1, 0.1, 0.1, 0.1]), model=model)
    assert result.best.step == 0
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), toy.Toy().parameters(), strict=True))


def test_early_stop_after_patience_evaluations(toy: ModuleType, tmp_path: Path) -> None:
    notes = Notes()
    config = CONFIG.model_copy(update={"patience": 2})
    result = fit(toy, tmp_path, scripted([0.1, 0.5, 0.4, 0.5]), config, progress=notes)
    assert (result.steps, result.total_steps, result.stopped_early, result.best.step) == (6, 8, True, 2)
    assert notes.lines[-1] == "stopped early: no better than step 2 since"
    assert [row["step"] for row in read_history(tmp_path / NAME)] == list(range(7))


def test_no_steps_evaluates_the_start_only(toy: ModuleType, tmp_path: Path) -> None:
    result = fit(toy, tmp_path, scripted([0.3]), CONFIG.model_copy(update={"max_steps": 0}))
    assert (result.steps, result.best.step, result.samples, result.stopped_early) == (0, 0, 0, False)
    assert [row["valid"] for row in read_history(tmp_path / NAME)] == [{"objective": 0.3}]


def test_finished_run_resumes_to_the_same_result(toy: ModuleType, tmp_path: Path) -> None:
    model = toy.Toy()
    first = fit(toy, tmp_path, scripted([0.1, 0.5, 0.3, 0.3, 0.3]), model=model)
    again = toy.Toy()
    second = fit(toy, tmp_path, scripted([]), model=again, resume=True)
    assert second == first
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))


def test_nothing_is_overwritten_unasked(toy: ModuleType, tmp_path: Path) -> None:
    fit(toy, tmp_path, scripted([0.1] * 5))
    before = (tmp_path / NAME).read_bytes()
    with pytest.raises(RunError, match="already holds a run: go on with --resume"):
        fit(toy, tmp_path, scripted([0.1] * 5))
    assert (tmp_path / NAME).read_bytes() == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"config": CONFIG.model_copy(update={"lr": 0.5})}, r"training\.lr was 0\.02 and is now 0\.5"),
        ({"fingerprint": {"data": "b"}}, "data was a and is now b"),
        ({"tasks": {"first": 1.0, "second": 1.0}}, "weight of task first was nothing"),
        ({"packs": 22}, r"training packs was 23 .* and is now 22"),
    ],
)
def test_resume_with_other_settings_is_refused(
    toy: ModuleType, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    fit(toy, tmp_path, scripted([0.1] * 5), fingerprint={"data": "a"})
    options = {"fingerprint": {"data": "a"}, **change}
    if "packs" in options:
        options["packs"] = toy.make_packs(options["packs"])
    with pytest.raises(RunError, match=message):
        fit(toy, tmp_path, scripted([]), options.pop("config", CONFIG), resume=True, **options)


def test_settings_without_effect_may_change_on_resume(toy: ModuleType, tmp_path: Path) -> None:
    fit(toy, tmp_path, scripted([0.1] * 5))
    config = CONFIG.model_copy(update={"checkpoints": 1, "packs_per_forward": 1})
    assert fit(toy, tmp_path, scripted([]), config, resume=True).steps == 6


class Spoilt(torch.nn.Module):
    """Returns a loss of the given value from its third forward on."""

    def __init__(self, inner: torch.nn.Module, value: float) -> None:
        super().__init__()
        self.inner = inner
        self.value = value
        self.calls = 0

    def forward(self, batch: Any) -> dict[str, torch.Tensor]:
        self.calls += 1
        losses: dict[str, torch.Tensor] = self.inner(batch)
        return {name: rows * self.value for name, rows in losses.items()} if self.calls > 3 else losses


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_loss_that_is_not_finite_stops_before_the_update(toy: ModuleType, tmp_path: Path, value: float) -> None:
    inner = toy.Toy()
    with pytest.raises(RunError, match=r"step 2 of 8 .*the loss of task .*first.* is (nan|inf).*training\.lr"):
        fit(toy, tmp_path, scripted([0.1] * 5), model=Spoilt(inner, value), tasks={"first": 1.0, "second": 1.0})
    assert all(torch.isfinite(parameter).all() for parameter in inner.parameters())


def test_gradient_that_is_not_finite_is_named(toy: ModuleType, tmp_path: Path) -> None:
    inner = toy.Toy()
    inner.heads["first"].b1.register_hook(lambda grad: grad * float("nan"))
    with pytest.raises(RunError, match=r"step 1 of 8 .*the gradient norm is nan"):
        fit(toy, tmp_path, scripted([0.1] * 5), model=inner)


def test_wrong_evaluations_are_named(toy: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no 'objective', only auc"):
        fit(toy, tmp_path / "a", lambda: {"auc": 0.5})
    with pytest.raises(RunError, match="after step 0 is not a number"):
        fit(toy, tmp_path / "b", scripted([float("nan")]))


def test_nothing_to_train_on(toy: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no packs"):
        fit(toy, tmp_path, scripted([0.1]), packs=[])
    model = toy.Toy().requires_grad_(False)
    with pytest.raises(RunError, match="no trainable parameters"):
        fit(toy, tmp_path, scripted([0.1]), model=model)


def test_lost_losses_are_named(toy: ModuleType, tmp_path: Path) -> None:
    class Short(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = toy.Toy()

        def forward(self, batch: Any) -> dict[str, torch.Tensor]:
            return {name: rows.mean()[None] for name, rows in self.inner(batch).items()}

    with pytest.raises(RunError, match="return one per sample"):
        fit(toy, tmp_path, scripted([0.1]), model=Short())


def test_out_of_memory_names_the_cure(toy: ModuleType, tmp_path: Path) -> None:
    def collate(packs: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(RunError, match=r"out of device memory in step 1 with 2 packs.*packs_per_forward"):
        fit(toy, tmp_path, scripted([0.1]), collate=collate)


def test_environment_of_accelerate_does_not_scale_the_loss(
    toy: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, plain, _ = toy.run(tmp_path / "plain", CONFIG)
    AcceleratorState._reset_state(reset_partial_state=True)
    monkeypatch.setenv("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "4")
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    _, other, _ = toy.run(tmp_path / "other", CONFIG)
    assert all(torch.equal(a, b) for a, b in zip(plain.parameters(), other.parameters(), strict=True))


def test_tensorboard_only_when_asked(toy: ModuleType, tmp_path: Path) -> None:
    fit(toy, tmp_path / "off", scripted([0.1] * 5))
    assert not (tmp_path / "off" / "trackers").exists()
    pytest.importorskip("tensorboard")
    AcceleratorState._reset_state(reset_partial_state=True)
    fit(toy, tmp_path / "on", scripted([0.1] * 5), CONFIG.model_copy(update={"trackers": ("tensorboard",)}))
    assert list((tmp_path / "on" / "trackers").rglob("events.out.tfevents.*"))


def test_missing_tensorboard_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("m6rec_core.training.accelerator.is_tensorboard_available", lambda: False)
    with pytest.raises(ConfigError, match="pip install tensorboard"):
        make_accelerator(CONFIG.model_copy(update={"trackers": ("tensorboard",)}), tmp_path)


def test_accelerator_keeps_no_model_alive(toy: ModuleType, tmp_path: Path) -> None:
    accelerator = make_accelerator(CONFIG, tmp_path, cpu=True)
    model = toy.Toy()
    fit(toy, tmp_path, scripted([0.1] * 5), model=model, accelerator=accelerator)
    assert isinstance(accelerator, Accelerator)
    assert accelerator._models == []
    assert sys.getrefcount(model) <= 3
