"""Teaching by the full model: the term itself, what it reaches, and runs that are taught."""

from __future__ import annotations

import json
import shutil

import late_rows as kit
import pytest
import torch

from m6rec_core.cli import main
from m6rec_core.config import TuningConfig
from m6rec_core.model import M6Rec
from m6rec_core.serving.distinct import distinct_rows, read_states
from m6rec_core.testing import encode_samples, one_batch
from m6rec_core.tuning.pack import read_manifest
from m6rec_core.tuning.teaching import Teaching, start_as
from m6rec_core.types import TaskView


def samples() -> list[kit.Lines]:
    """One to three rows per sample."""
    rows = [(kit.WORDS[: 1 + i], kit.WORDS[(i + 2) % 5]) for i in range(3)]
    return [kit.Lines(id=str(i), rows=tuple((tuple(s), t) for s, t in rows[: 1 + i])) for i in range(3)]


def model_of(**values: object) -> tuple[M6Rec, list]:
    from m6rec_core.model import TunedTask

    model = kit.late_model(**values)
    tuned = TunedTask(kit.TASK, kit.SETTINGS, model.tunings["lines"], model.heads["lines"])
    return model, list(encode_samples("lines", tuned, samples(), model.backbone))


def taught_by(teacher: M6Rec, encoded: list, **weights: float) -> Teaching:
    states = read_states(teacher, "lines", distinct_rows(encoded), 200, torch.device("cpu")).rows
    options = teacher.tunings["lines"].options().detach().clone()
    return Teaching("key", states, [len(one.rows) for one in encoded], options, **weights)


def test_a_student_that_is_its_teacher_gets_nothing_in_any_order_of_samples():
    model, encoded = model_of()
    teaching = taught_by(model, encoded)
    for order in ((0, 1, 2), (2, 0, 1), (1,)):
        batch = one_batch([encoded[i] for i in order], model.backbone)
        term = teaching(model.views(batch)["lines"], batch.tasks["lines"].indices)
        assert term.shape == (len(order),)
        assert term.detach().abs().max() < 1e-12


def test_the_term_is_its_definition():
    model, encoded = model_of(seed=1)
    teacher = kit.late_model(seed=2, late_layers=0, adapter_layers="all", backbone=model.backbone)
    teaching = taught_by(teacher, encoded, weight=0.7, score_weight=0.3)
    batch = one_batch([encoded[2], encoded[1]], model.backbone)
    view = model.views(batch)["lines"]
    found = teaching(view, batch.tasks["lines"].indices)
    every = read_states(teacher, "lines", distinct_rows(encoded), 200, torch.device("cpu")).rows
    variance = (every - every.mean(0)).square().sum(1).mean()
    options = teacher.tunings["lines"].options()
    expected = []
    for sample, target in ((0, every[3:6]), (1, every[1:3])):
        hidden = view.hidden[view.sample_of_row == sample]
        known, own = (target @ options.T).softmax(-1), (hidden @ view.options.T).softmax(-1)
        kl = (known * (known.log() - own.log())).sum(-1)
        expected.append((0.7 * (hidden - target).square().sum(-1) / variance + 0.3 * kl).mean())
    torch.testing.assert_close(found, torch.stack(expected), rtol=1e-9, atol=1e-9)


def test_it_is_added_in_training_only_and_reaches_what_trains_only():
    model, encoded = model_of(seed=1)
    teacher = kit.late_model(seed=2, late_layers=0, adapter_layers="all", backbone=model.backbone)
    batch = one_batch(encoded, model.backbone)
    with torch.no_grad():
        plain = model(batch)["lines"]
        teaching = taught_by(teacher, encoded)
        model.teachers["lines"] = teaching
        assert torch.equal(model(batch)["lines"], plain)
    model.train()
    taught = model(batch)["lines"]
    term = teaching(model.views(batch)["lines"], batch.tasks["lines"].indices)
    torch.testing.assert_close(taught, plain + term)
    taught.sum().backward()
    assert all(p.grad is None for p in [*teacher.parameters()])
    assert all(p.grad is not None and bool(p.grad.any()) for p in model.tunings["lines"].adapters.parameters())


def test_from_the_cache_the_term_is_that_of_one_pass():
    model, encoded = model_of(seed=1)
    teacher = kit.late_model(seed=2, late_layers=0, adapter_layers="all", backbone=model.backbone)
    model.teachers["lines"] = taught_by(teacher, encoded)
    model.train()
    batch = one_batch(encoded, model.backbone, merged=True)
    plain = model(batch)["lines"]
    model.segments = kit.cache_of(model)
    torch.testing.assert_close(model(batch)["lines"], plain, rtol=1e-9, atol=1e-9)


def test_a_task_that_looks_across_the_batch_is_taught_from_its_states():
    from m6rec_core.model import StateRows, States

    model, encoded = model_of(seed=1)
    teacher = kit.late_model(seed=2, late_layers=0, adapter_layers="all", backbone=model.backbone)
    model.teachers["lines"] = taught_by(teacher, encoded)
    model.train()
    batch = one_batch(encoded, model.backbone)
    rows, view = batch.tasks["lines"], model.views(batch)["lines"]
    whole = StateRows(rows.samples, rows.indices, rows.sample_of_row, rows.scored_ids, rows.scored_row)
    found = model.loss_of("lines", whole, States(view.hidden, view.scored.hidden))
    torch.testing.assert_close(found, model(batch)["lines"], rtol=1e-9, atol=1e-9)


def test_without_options_only_the_states_are_taught():
    states = torch.randn(4, 8, generator=torch.Generator().manual_seed(0))
    teaching = Teaching("key", states, [1, 2, 1])
    view = TaskView("t", samples()[:1], torch.zeros(2, dtype=torch.int64), states[1:3], None, None, None)  # type: ignore[arg-type]
    assert float(teaching(view, [1])) == 0.0


def test_a_start_takes_what_fits():
    first, other = kit.late_model(seed=1), kit.late_model(seed=2, late_layers=0, adapter_layers="all")
    own, known = first.tunings["lines"], other.tunings["lines"]
    assert start_as(own, known) > 0
    assert torch.equal(own.prompts(), known.prompts())
    assert torch.equal(own.adapters.layers["2"].w2, known.adapters.layers["2"].w2)
    assert "0" not in own.adapters.layers


LATE = ("--late-layers", "1", "--shots", "100", "--set", "evaluation.rows=40", "--set", "evaluation.valid_rows=40",
        "--set", "training.max_steps=4")  # fmt: skip


def finish(arguments, code: int = 0) -> None:
    with pytest.raises(SystemExit) as done:
        main([str(one) for one in arguments])
    assert done.value.code == code


@pytest.fixture(scope="module")
def teacher_run(finished_run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("teacher") / "full"
    shutil.copytree(finished_run, folder)
    return folder


def history(output) -> list[float]:
    rows = [json.loads(line) for line in (output / "history.jsonl").read_text().splitlines()]
    return [row["loss"] for row in rows if row.get("loss") is not None]


def test_a_run_is_taught_computes_states_once_and_resumes(films, teacher_run, tmp_path, capsys, monkeypatch):
    taught = (*LATE, "--set", f"tuning.teacher={teacher_run}", "--set", "training.checkpoints=2")
    finish(films.command(tmp_path / "first", *taught))
    assert "rows computed" in capsys.readouterr().err
    kept = list((teacher_run / "pack.states").iterdir())
    assert len(kept) == 1
    again = films.command(tmp_path / "again", *taught)
    from m6rec_core.training import loop

    steps = iter(range(3))
    real = loop.run_step

    def killed(machine, step):
        if next(steps, None) is None:
            raise KeyboardInterrupt
        return real(machine, step)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "run_step", killed)
        with pytest.raises(SystemExit):
            main([str(one) for one in again])
    finish([*again, "--resume"])
    assert kept[0].name in capsys.readouterr().err
    assert history(tmp_path / "again") == pytest.approx(history(tmp_path / "first"), rel=1e-6)
    plain = tmp_path / "plain"
    finish(films.command(plain, *LATE))
    assert history(plain)[0] != pytest.approx(history(tmp_path / "first")[0], rel=1e-3)
    assert read_manifest(tmp_path / "first" / "pack").tuning.teacher == str(teacher_run)


def test_damaged_states_are_computed_again(films, teacher_run, tmp_path, capsys):
    for file in (teacher_run / "pack.states").glob("*"):
        file.write_bytes(b"cut short")
    finish(films.command(tmp_path / "run", *LATE, "--set", f"tuning.teacher={teacher_run / 'pack'}"))
    assert "rows computed" in capsys.readouterr().err


def test_a_run_may_start_from_its_teacher(films, teacher_run, tmp_path, capsys):
    start = ("--set", f"tuning.teacher={teacher_run}", "--set", "tuning.init=teacher", "--set", "training.max_steps=0")
    finish(films.command(tmp_path / "run", *LATE[:-2], *start))
    assert "tensors of the teacher" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "message"),
    [(("tuning.teacher=nowhere",), "nowhere"), (("tuning.init=teacher",), "needs a teacher")],
)
def test_a_teacher_that_is_none_is_refused(films, tmp_path, capsys, more, message):
    given = [part for one in more for part in ("--set", one)]
    finish(films.command(tmp_path / "run", *LATE, *given), code=2)
    assert message in capsys.readouterr().err


def test_init_teacher_is_a_setting():
    assert TuningConfig(init="teacher", teacher="runs/full").teacher == "runs/full"
