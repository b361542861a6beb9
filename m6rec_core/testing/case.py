"""What a conformance clause is given: a task, its samples and a backbone; and how it compares what comes out."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from pydantic import BaseModel

from m6rec_core.backbone.hf import Backbone
from m6rec_core.config import TaskConfig, TuningConfig
from m6rec_core.decoding.writing import writer
from m6rec_core.model import M6Rec, TunedTask
from m6rec_core.registry import Task
from m6rec_core.testing.building import KIT_TUNING, build_tuned, encode_samples, one_batch, perturb
from m6rec_core.tokens.batching import Batch, Encoded
from m6rec_core.types import Sample, Serialized

FIRST, SECOND = "first", "second"
"""Names of the two instances of the task that clauses put into one batch."""


class Violation(AssertionError):  # noqa: N818 - a finding about a plugin, not an error of the kit
    """A plugin breaks a clause; `number` is the clause's."""

    def __init__(self, number: int, reason: str) -> None:
        """Say which clause and why, in one line."""
        super().__init__(f"clause {number}: {reason}")
        self.number = number


@dataclass(frozen=True, slots=True)
class Case:
    """A task under test on a float64 backbone, with the settings of the clauses.

    `second_config`: settings of the other instance in mixed batches. `steps`, `learning_rate`, `overfit_ratio`: Adam's,
    and the part of the first loss that clause 7 allows to remain. `bf16_factor`: how much chance clause 6 allows.
    `tolerance`: relative, and absolute below 1; heads hold float32 features at times.
    """

    task: Task
    config: TaskConfig
    samples: Sequence[Sample]
    backbone: Backbone
    second_config: TaskConfig
    tuning: TuningConfig = KIT_TUNING
    steps: int = 40
    learning_rate: float = 0.02
    overfit_ratio: float = 0.3
    bf16_factor: float = 4.0
    tolerance: float = 1e-5
    _encoded: dict[str, tuple[Encoded, ...]] = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Refuse fixtures that a clause could not judge (ValueError)."""
        if len(self.samples) < 3:
            raise ValueError(f"the samples fixture has {len(self.samples)} samples; the kit needs at least 3")
        if len({sample.id for sample in self.samples}) != len(self.samples):
            raise ValueError("the samples fixture repeats an id; give every sample its own")

    def serialize(self, sample: Sample) -> Serialized:
        """The sample as text under the first settings."""
        return self.task.serialize_sample(sample, self.config)

    def tuned(self, name: str, noise: float = 0.1, seed: int = 0, prepared: bool = True) -> TunedTask:
        """The instance `name`, with noise on everything that trains. The second instance starts at random."""
        return self._tuned(name, self.backbone, noise, seed, prepared)

    def model(self, *names: str) -> M6Rec:
        """The instances `names` over the backbone, in evaluation mode."""
        return M6Rec(self.backbone, {name: self.tuned(name) for name in names}, writer).eval()

    def half_model(self) -> M6Rec:
        """Both instances, float32 as in production, over the backbone in bf16."""
        half = copy.deepcopy(self.backbone)
        for parameter in half.parameters():
            parameter.data = parameter.data.to(torch.bfloat16)
        tuned = {name: self._tuned(name, half, 0.1, 0, True) for name in (FIRST, SECOND)}
        return M6Rec(half, tuned, writer).eval()

    def encoded(self, *names: str) -> list[Encoded]:
        """The samples as token rows of the instances `names`; written once, so that all uses see the same text."""
        for name in names:
            if name not in self._encoded:
                self._encoded[name] = encode_samples(name, self.tuned(name), self.samples, self.backbone)
        return [sample for name in names for sample in self._encoded[name]]

    def encode_one(self, sample: Sample) -> Encoded:
        """One sample of the first instance as token rows."""
        return encode_samples(FIRST, self.tuned(FIRST), [sample], self.backbone)[0]

    def mixed_batch(self) -> Batch:
        """All samples of both instances in one pack."""
        return one_batch(self.encoded(FIRST, SECOND), self.backbone, merged=True)

    def _tuned(self, name: str, backbone: Backbone, noise: float, seed: int, prepared: bool) -> TunedTask:
        second = name == SECOND
        config = self.second_config if second else self.config
        tuning = self.tuning.model_copy(update={"init": "random"}) if second else self.tuning
        seed += 100 * second
        tuned = build_tuned(self.task, config, backbone, tuning, seed, self.samples if prepared else ())
        return perturb(tuned, seed, noise)


def fields_match(left: object, right: object, tolerance: float) -> bool:
    """Whether two values are alike: numbers within `tolerance` of max(1, |value|), everything else equal."""
    if isinstance(left, BaseModel) and isinstance(right, BaseModel):
        return type(left) is type(right) and fields_match(dict(left), dict(right), tolerance)
    if isinstance(left, Mapping) and isinstance(right, Mapping):
        return left.keys() == right.keys() and all(fields_match(left[key], right[key], tolerance) for key in left)
    if isinstance(left, (list, tuple)) and isinstance(right, (list, tuple)):
        return len(left) == len(right) and all(map(fields_match, left, right, [tolerance] * len(left)))
    if isinstance(left, float) and isinstance(right, float):
        return left == right or abs(left - right) <= tolerance * max(1.0, abs(left))
    return left == right


def numbers_of(value: object, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], float]]:
    """Every finite float in a prediction with the path to it."""
    if isinstance(value, BaseModel):
        value = dict(value)
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from numbers_of(inner, (*path, str(key)))
    elif isinstance(value, (list, tuple)):
        for index, inner in enumerate(value):
            yield from numbers_of(inner, (*path, str(index)))
    elif isinstance(value, float) and math.isfinite(value):
        yield path, value
