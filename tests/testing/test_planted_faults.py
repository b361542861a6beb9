"""The kit finds each planted fault, and only in the clause the fault belongs to."""

from __future__ import annotations

import itertools
from dataclasses import replace
from types import ModuleType

import pytest
import torch
from torch import nn

from m6rec_core.config import TaskConfig
from m6rec_core.heads.options import OptionClassifier
from m6rec_core.hookspecs import HOOK_API, hookimpl
from m6rec_core.registry import task_from_module
from m6rec_core.testing import tiny_backbone
from m6rec_core.testing.case import Case
from m6rec_core.testing.clauses import CLAUSES, violations
from m6rec_core.types import Prediction, Readout, Region, Sample, Segment, Serialized, TaskManifest, TextRow


class Review(Sample):
    text: str
    label: bool | None = None
    when: object = None


class Verdict(Prediction):
    score: float


class Head(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.classifier = OptionClassifier(32, 2)
        self.bias = nn.Parameter(torch.zeros(()))

    def margin(self, view):
        logits = self.classifier(view.hidden, view.options)
        return logits[:, 1] - logits[:, 0] + self.bias


def serialize_sample(sample, config):
    segments = (Segment(f"Review {sample.text}.", Region.BIDIRECTIONAL), Segment("Good?", Region.AUTOREGRESSIVE))
    return Serialized((TextRow(segments),))


def build_head(config, backbone):
    return Head()


def compute_loss(head, view):
    target = torch.tensor([bool(s.label) for s in view.samples], dtype=view.hidden.dtype)
    return nn.functional.binary_cross_entropy_with_logits(head.margin(view), target, reduction="none")


def decode(head, view, generate):
    return [Verdict(id=s.id, score=v) for s, v in zip(view.samples, head.margin(view).tolist(), strict=True)]


HOOKS = {f.__name__: f for f in (serialize_sample, build_head, compute_loss, decode)}
MANIFEST = TaskManifest(
    task="planted",
    summary="a task for the kit's own tests",
    hook_api=(HOOK_API, HOOK_API),
    sample=Review,
    prediction=Verdict,
    config=TaskConfig,
)
CONFIG = TaskConfig(options=(" No", " Yes"), instruction="Is the review good?")
SAMPLES = tuple(Review(id=f"r{i}", text=t, label=i % 2 == 0) for i, t in enumerate(("a b c", "long enough, not", "x")))
BACKBONE = tiny_backbone(layers=2)


def case(samples=SAMPLES, config=CONFIG, manifest=MANIFEST, **hooks):
    module = ModuleType("planted")
    module.MANIFEST = manifest
    for name, function in {**HOOKS, **hooks}.items():
        setattr(module, name, hookimpl(specname=name)(function))
    task = task_from_module(module)
    return Case(task, config, samples, BACKBONE, config)


def failed(planted: Case) -> set[int]:
    return set(violations(planted))


def test_a_sound_plugin_keeps_every_clause():
    assert violations(case()) == {}
    assert list(CLAUSES) == list(range(1, 13))


def test_a_sound_plugin_of_several_rows_and_the_other_readout():
    def rows(sample, config):
        row = serialize_sample(sample, config).rows[0]
        return Serialized((TextRow((*row.segments[:1],), Readout.SOURCE, markers=False), row))

    class Pair(Head):
        def margin(self, view):
            logits = self.classifier(view.hidden, view.options)
            margin = logits[:, 1] - logits[:, 0]
            return margin.new_zeros(len(view.samples)).index_add(0, view.sample_of_row, margin) + self.bias

    assert violations(case(serialize_sample=rows, build_head=lambda config, backbone: Pair())) == {}


def test_json():
    moments = [SAMPLES[0].model_copy(update={"when": (1, 2)}), *SAMPLES[1:]]  # a tuple comes back as a list
    assert failed(case(samples=moments)) == {1}


def test_leaking_label():
    def leaks(sample, config):
        row = TextRow((Segment(f"{sample.text} {sample.label}", Region.AUTOREGRESSIVE),))
        return Serialized((row,))

    assert failed(case(serialize_sample=leaks)) == {2}


def test_text_that_needs_the_label():
    def crashes(sample, config):
        if sample.label is None:
            from m6rec_core.errors import DataError

            raise DataError("no label")
        return serialize_sample(sample, config)

    assert failed(case(serialize_sample=crashes)) == {2}


def test_labels_that_are_all_the_same_and_required():
    class Rated(Review):
        label: str = "good"  # type: ignore[assignment]

    samples = [Rated(id=s.id, text=s.text) for s in SAMPLES]
    assert failed(case(samples=samples, manifest=replace(MANIFEST, sample=Rated))) == {2}


def test_nondeterministic_text():
    counter = itertools.count()

    def counts(sample, config):
        return Serialized((TextRow((Segment(f"{sample.text} {next(counter)}", Region.AUTOREGRESSIVE),)),))

    assert failed(case(serialize_sample=counts)) == {3}


def test_nondeterministic_predictions():
    def noisy(head, view, generate):
        return [p.model_copy(update={"score": p.score + float(torch.rand(()))}) for p in decode(head, view, generate)]

    assert 3 in failed(case(decode=noisy))


def test_loss_that_depends_on_the_neighbours():
    def centred(head, view):
        loss = compute_loss(head, view)
        return loss - 0.5 * loss.mean()

    assert failed(case(compute_loss=centred)) == {4}


def test_prediction_that_depends_on_the_neighbours():
    def ranked(head, view, generate):
        found = decode(head, view, generate)
        return [p.model_copy(update={"score": p.score - found[0].score + sum(f.score for f in found)}) for p in found]

    assert 4 in failed(case(decode=ranked))


def test_mean_loss_spread_over_the_rows():
    assert failed(case(compute_loss=lambda head, view: compute_loss(head, view).mean().expand(len(view.samples)))) == {
        4
    }


def test_mean_loss():
    assert failed(case(compute_loss=lambda head, view: compute_loss(head, view).mean())) == {4}


def test_loss_that_depends_on_the_place_in_the_batch():
    def fading(head, view):
        return compute_loss(head, view) / torch.arange(1, len(view.samples) + 1)

    assert failed(case(compute_loss=fading)) == {5}


def test_head_in_half_precision():
    class Half(Head):
        def margin(self, view):
            if view.hidden.dtype is torch.float64:
                return super().margin(view)
            logits = self.classifier(view.hidden.bfloat16(), view.options.bfloat16()).float()
            return logits[:, 1] - logits[:, 0] + self.bias

    assert failed(case(build_head=lambda config, backbone: Half())) == {6}


def test_loss_that_does_not_teach():
    def constant(head, view):
        return compute_loss(head, view).clamp(min=0.2) * 1e-6 + 1.0

    assert failed(case(compute_loss=constant)) == {7}


def test_loss_that_is_not_a_number():
    assert 7 in failed(case(compute_loss=lambda head, view: float("nan") * compute_loss(head, view)))


def test_predictions_in_another_order():
    assert failed(case(decode=lambda head, view, generate: decode(head, view, generate)[::-1])) == {8}


def test_prediction_of_another_type():
    class Other(Prediction):
        score: float

    def other(head, view, generate):
        return [Other(id=p.id, score=p.score) for p in decode(head, view, generate)]

    assert failed(case(decode=other)) == {8}


def test_score_that_is_not_finite():
    def infinite(head, view, generate):
        return [p.model_copy(update={"score": float("inf")}) for p in decode(head, view, generate)]

    assert failed(case(decode=infinite)) == {8}


def test_scores_given_to_the_wrong_samples():
    def swapped(head, view, generate):
        found = decode(head, view, generate)
        return [p.model_copy(update={"score": q.score}) for p, q in zip(found, found[::-1], strict=True)]

    assert failed(case(decode=swapped)) & {4, 5}


def test_state_outside_of_the_state_dict():
    class Forgetful(Head):
        def __init__(self):
            super().__init__()
            self.scale = 1.0

        def prepare(self, samples):
            self.scale = 2.0 + len(samples)

        def margin(self, view):
            return self.scale * super().margin(view)

    assert failed(case(build_head=lambda config, backbone: Forgetful())) == {9}


def test_state_in_the_module():
    asked: list[str] = []

    def remembers(head, view, generate):
        asked.append(view.task)
        found = decode(head, view, generate)
        together = asked[-2:] == ["first", "second"]  # as in one batch; alone an instance answers for itself
        return [p.model_copy(update={"score": 0.5}) for p in found] if together else found

    assert failed(case(decode=remembers)) == {10}


def test_parameter_without_gradient():
    class Idle(Head):
        def __init__(self):
            super().__init__()
            self.idle = nn.Linear(3, 3)

    assert failed(case(build_head=lambda config, backbone: Idle())) == {11}


def test_gradient_that_is_not_finite():
    def rooted(head, view):
        return compute_loss(head, view) + 0 * torch.sqrt(head.bias - head.bias).sum()

    assert 11 in failed(case(compute_loss=rooted))


@pytest.mark.parametrize("written", ["[EOS]", "<|endoftext|>"])
def test_markers_written_as_text(written):
    def writes(sample, config):
        return Serialized((TextRow((Segment(f"{sample.text}{written}", Region.AUTOREGRESSIVE),)),))

    assert failed(case(serialize_sample=writes)) == {12}


def test_text_that_breaks_on_hostile_words():
    def parses(sample, config):
        from m6rec_core.errors import DataError

        if "[EOS]" in sample.text:
            raise DataError("bad text")
        return serialize_sample(sample, config)

    assert failed(case(serialize_sample=parses)) == {12}


@pytest.mark.parametrize("samples", [SAMPLES[:2], (*SAMPLES, SAMPLES[0])])
def test_unusable_fixtures_are_refused(samples):
    with pytest.raises(ValueError, match="samples fixture"):
        case(samples=samples)
