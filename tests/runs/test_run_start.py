"""The fitted start: the last C prompts move to where the training text is classified best, and nothing else does."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from types import SimpleNamespace

import pytest
import torch

from m6rec_core.errors import RegistryError
from m6rec_core.heads.options import OptionClassifier
from m6rec_core.logs import read_logs
from m6rec_core.model import M6Rec
from m6rec_core.registry import load_task
from m6rec_core.runs.data import pack_part
from m6rec_core.runs.found import Clock
from m6rec_core.runs.pipeline import prepare
from m6rec_core.runs.settings import parse_assignments, resolve
from m6rec_core.runs.start import fit_start
from m6rec_core.tokens.batching import collate
from m6rec_core.training.accelerator import make_accelerator
from m6rec_core.types import ClassHead, Serialized

SMALL = ("shots=120", "evaluation.rows=20", "evaluation.valid_rows=20", "settings.calibration=false")


@pytest.fixture
def build(films, tmp_path):
    """A prepared run on the tiny backbone and its model; arguments are settings."""

    def call(*settings):
        given = films.command(tmp_path)
        known = [value for name, value in pairwise(given) if name == "--set"]
        task, logs = load_task("ctr"), read_logs(films.logs)
        asked = {"task": "ctr", "data": str(films.logs), "backbone": str(films.backbone)}
        config = resolve(task.manifest, [asked, parse_assignments([*known, *SMALL, *settings])], logs.domain)
        accelerator = make_accelerator(config.training, tmp_path, cpu=True)
        prepared = prepare(task, config, logs, accelerator, Clock())
        return prepared, M6Rec(prepared.backbone, {"ctr": prepared.assembled.tuned}), accelerator

    return call


def state(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def changed(before, model):
    return {name for name, tensor in model.state_dict().items() if not torch.equal(before[name], tensor)}


@torch.no_grad()
def training_loss(prepared, model):
    model.eval()
    vocabulary = prepared.backbone.spec.vocabulary
    losses = [model(collate([pack], vocabulary))["ctr"] for pack in prepared.parts["train"].packs]
    return float(torch.cat(losses).mean())


def with_head(prepared, head):
    tuned = replace(prepared.assembled.tuned, head=head)
    return replace(prepared, assembled=replace(prepared.assembled, tuned=tuned))


@pytest.mark.parametrize("mode", ["option", "option-adapter"])
def test_the_options_alone_change_and_the_text_is_told_apart_better(build, mode):
    prepared, model, accelerator = build(f"tuning.mode={mode}")
    assert prepared.config.tuning.init == "fitted", "the default"
    before, loss = state(model), training_loss(prepared, model)
    assert fit_start(prepared, model, accelerator, False)
    assert changed(before, model) == {"tunings.ctr.soft.prompts"}
    moved = (model.tunings["ctr"].prompts() != before["tunings.ctr.soft.prompts"]).any(-1)
    assert moved.tolist() == [False, False, True, True]
    assert training_loss(prepared, model) < loss
    assert model.tunings["ctr"].soft.prompts.requires_grad


def test_the_same_every_time_and_however_the_rows_are_packed(build):
    found = []
    for settings in ((), (), ("training.pack_tokens=500",)):
        prepared, model, accelerator = build(*settings)
        assert fit_start(prepared, model, accelerator, False)
        found.append(model.tunings["ctr"].options().detach())
    assert torch.equal(found[0], found[1])
    torch.testing.assert_close(found[2], found[0], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    "settings", [("tuning.init=informed",), ("tuning.init=random",), ("tuning.mode=prompt",), ("tuning.mode=adapter",)]
)
def test_nothing_happens_where_it_is_not_asked_for_or_there_are_no_options(build, settings):
    prepared, model, accelerator = build(*settings)
    before = state(model)
    assert not fit_start(prepared, model, accelerator, False)
    assert changed(before, model) == set()


def test_nothing_happens_with_a_head_that_does_not_say_its_classes(build):
    prepared, model, accelerator = build()
    assert isinstance(prepared.assembled.tuned.head, ClassHead)
    before = state(model)
    assert not fit_start(with_head(prepared, torch.nn.Identity()), model, accelerator, False)
    assert changed(before, model) == set()


def test_a_number_called_classes_is_not_the_method(build):
    """`OptionClassifier`, which plugins use as their head, has an attribute of that name: how many classes."""
    prepared, model, accelerator = build()
    head = OptionClassifier(prepared.backbone.spec.hidden, 2)
    before = state(model)
    assert not fit_start(with_head(prepared, head), model, accelerator, False)
    assert changed(before, model) == set()


def test_samples_of_several_rows_are_refused(build):
    prepared, model, accelerator = build("tuning.mode=option")
    tuned = prepared.assembled.tuned
    task = tuned.task
    twice = SimpleNamespace(
        serialize_sample=lambda sample, config: Serialized(task.serialize_sample(sample, config).rows * 2)
    )
    assembled = replace(prepared.assembled, tuned=replace(tuned, task=twice))
    samples = prepared.rows.samples("train")
    packed = pack_part("ctr", assembled, samples, prepared.backbone, prepared.config.training.pack_tokens)
    several = replace(prepared, parts={**prepared.parts, "train": packed})
    before = state(model)
    with pytest.raises(RegistryError, match="'ctr': a head with `option_indices` needs samples of one text row each"):
        fit_start(several, model, accelerator, False)
    assert changed(before, model) == set()
