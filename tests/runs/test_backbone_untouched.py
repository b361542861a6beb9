"""Tuning leaves every byte of the backbone as it was, and trains no more than the budget; fine-tuning does not."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from itertools import count, pairwise

import pytest
import torch

from m6rec_core.logs import read_logs
from m6rec_core.model import M6Rec
from m6rec_core.registry import load_task
from m6rec_core.runs import scored
from m6rec_core.runs.found import Clock
from m6rec_core.runs.pipeline import prepare, tune
from m6rec_core.runs.record import Prepared
from m6rec_core.runs.settings import parse_assignments, resolve
from m6rec_core.runs.start import fit_start
from m6rec_core.training.accelerator import make_accelerator

BUDGET = 0.5
SMALL = ("shots=60", "evaluation.rows=20", "evaluation.valid_rows=40", "training.max_steps=3", "training.evaluations=1")


def digest(backbone):
    """sha256 over the name, type and bytes of every parameter and buffer, those that are not saved included."""
    found = sha256()
    for name, tensor in sorted([*backbone.named_parameters(), *backbone.named_buffers()]):
        found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)};".encode())
        found.update(tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return found.hexdigest()


@dataclass(frozen=True)
class Tuned:
    """What three steps did: digests of the backbone, the number of parameters that train, the names that moved."""

    prepared: Prepared
    start: str
    end: str
    trained: int
    moved: frozenset[str]


@pytest.fixture
def tuned(films, tmp_path, monkeypatch):
    """Start, tune and keep the last step, whatever it does to the metric."""
    values = count()
    monkeypatch.setattr(scored, "_valid_metrics", lambda names, *_: dict.fromkeys(names, float(next(values))))

    def call(mode, precision):
        given = films.command(tmp_path)
        known = [value for name, value in pairwise(given) if name == "--set"]
        own = (f"tuning.mode={mode}", f"tuning.budget={BUDGET}", f"training.precision={precision}")
        task, logs = load_task("ctr"), read_logs(films.logs)
        asked = {"task": "ctr", "data": str(films.logs), "backbone": str(films.backbone)}
        config = resolve(task.manifest, [asked, parse_assignments([*known, *SMALL, *own])], logs.domain)
        accelerator = make_accelerator(config.training, tmp_path, cpu=True)
        prepared = prepare(task, config, logs, accelerator, Clock())
        model = M6Rec(prepared.backbone, {"ctr": prepared.assembled.tuned})
        start = digest(prepared.backbone)
        assert fit_start(prepared, model, accelerator, False) == (mode in ("option", "option-adapter"))
        before = {name: p.detach().clone() for name, p in model.named_parameters()}
        assert tune(prepared, model, accelerator, tmp_path / "run", resume=False, shown=False).best.step == 3
        moved = frozenset(name for name, p in model.named_parameters() if not torch.equal(p, before[name]))
        trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
        return Tuned(prepared, start, digest(prepared.backbone), trained, moved)

    return call


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("mode", ["option-adapter", "option", "prompt", "adapter"])
def test_the_backbone_keeps_every_byte(tuned, mode, precision):
    found = tuned(mode, precision)
    backbone, plan = found.prepared.backbone, found.prepared.assembled.plan
    assert backbone.dtype == {"fp32": torch.float32, "bf16": torch.bfloat16}[precision]
    assert found.start == found.end
    assert not any(p.requires_grad or p.grad is not None for p in backbone.parameters())
    assert any(name.startswith("tunings.ctr.adapters") for name in found.moved) == ("adapter" in mode)
    assert ("tunings.ctr.soft.prompts" in found.moved) == (mode != "adapter")
    assert found.trained == plan.parameters
    assert plan.share == plan.parameters / backbone.spec.parameters <= BUDGET


def test_fine_tuning_changes_it(tuned):
    found = tuned("fine-tuning", "fp32")
    assert found.start != found.end
    assert any(name.startswith("backbone.") for name in found.moved)
    assert found.trained == found.prepared.assembled.plan.parameters > found.prepared.backbone.spec.parameters


def test_one_changed_bit_is_noticed(tuned):
    """The digest itself is tested: it sees the smallest change of any tensor, buffers included."""
    backbone = tuned("option", "fp32").prepared.backbone
    seen = {digest(backbone)}
    tensors = [*backbone.parameters(), *backbone.buffers()]
    for tensor in tensors:
        with torch.no_grad():
            tensor.view(-1).view(torch.uint8)[0] ^= 1
        seen.add(digest(backbone))
    assert len(seen) == len(tensors) + 1 > 20
