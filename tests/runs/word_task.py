"""A task with samples and an evaluation of its own, for test_run_reported: which of two films did a user see next?

Each film is a text row; the answer is the row with the higher likelihood.
"""

from __future__ import annotations

import torch

from m6rec_core.config import TaskConfig
from m6rec_core.heads.likelihood import row_likelihood
from m6rec_core.hookspecs import HOOK_API, hookimpl
from m6rec_core.types import (
    Prediction,
    Region,
    Report,
    ReportTable,
    Sample,
    Segment,
    Serialized,
    TaskManifest,
    TextRow,
)


class NextSample(Sample):
    context: str
    films: tuple[str, str]
    label: int | None = None


class NextPrediction(Prediction):
    scores: tuple[float, ...]


class NextConfig(TaskConfig):
    instruction: str = "What comes next?"


def derive(logs, settings, seed):
    """The last but one and the last two films of each user; users by turns in the three parts."""
    titles = dict(zip(logs.items["item_id"], logs.items["title"], strict=True))
    parts = {"train": [], "valid": [], "test": []}
    for number, (user, events) in enumerate(logs.events.groupby("user_id", sort=True)):
        seen = [titles[item] for item in events["item_id"]]
        other = titles[sorted(titles)[(number + seed) % len(titles)]]
        sample = NextSample(id=str(user), context=seen[-2], films=(seen[-1], other), label=0)
        parts[("train", "valid", "test")[number % 3]].append(sample)
    return parts


class Accuracy:
    def valid(self, run):
        return {"accuracy": share(run, run.parts["valid"])}

    def test(self, run):
        losses = run.losses(run.parts["test"], "losses")
        value = share(run, run.parts["test"])
        table = ReportTable("accuracy", ("model", "accuracy"), (("m6rec", f"{value:.3f}"), ("random", ".500")))
        rows = [{"id": s.id, "loss": loss} for s, loss in zip(run.parts["test"], losses, strict=True)]
        return Report((table,), (("texts", "titles"),), {"accuracy": value, "loss": sum(losses) / len(losses)}, rows)


def share(run, samples):
    answers = run.answer(samples, "scoring")
    assert [answer.id for answer in answers] == [sample.id for sample in samples]
    return sum(a.scores[0] >= a.scores[1] for a in answers) / len(answers)


MANIFEST = TaskManifest(
    task="word",
    summary="which film was next",
    hook_api=(HOOK_API, HOOK_API),
    sample=NextSample,
    prediction=NextPrediction,
    config=NextConfig,
    score_field="",
    derive=derive,
    evaluation=Accuracy(),
)


@hookimpl
def serialize_sample(sample, config):
    context = Segment(f"{sample.context}\n", Region.BIDIRECTIONAL)
    rows = [(context, Segment(film, Region.AUTOREGRESSIVE, scored=True)) for film in sample.films]
    return Serialized(tuple(TextRow(row, markers=False) for row in rows))


@hookimpl
def build_head(config, backbone):
    return torch.nn.Identity()


@hookimpl
def compute_loss(head, view):
    true = torch.tensor([s.label for s in view.samples]) + 2 * torch.arange(len(view.samples))
    return -row_likelihood(view.scored, view.vocabulary, len(view.sample_of_row))[true]


@hookimpl
def decode(head, view, generate):
    scores = row_likelihood(view.scored, view.vocabulary, len(view.sample_of_row)).view(-1, 2).tolist()
    return [NextPrediction(id=s.id, scores=tuple(pair)) for s, pair in zip(view.samples, scores, strict=True)]
