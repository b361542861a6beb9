"""[EOS] as the last token of an answer: scored as it is written, and learnt."""

from __future__ import annotations

from types import ModuleType

import pytest
import torch
from torch import nn

from m6rec_core.config import DecodingConfig, TaskConfig
from m6rec_core.decoding.writing import allowed_texts, write_rows, writer
from m6rec_core.generation import answer_losses, answer_row, prompt_row
from m6rec_core.heads.likelihood import token_log_likelihood
from m6rec_core.hookspecs import HOOK_API, hookimpl
from m6rec_core.model import M6Rec
from m6rec_core.registry import task_from_module
from m6rec_core.testing import build_tuned, encode_samples, one_batch, tiny_backbone
from m6rec_core.testing.building import KIT_TUNING, perturb
from m6rec_core.tokens.encode import RowEncoder
from m6rec_core.tokens.markers import Marker
from m6rec_core.types import Prediction, Region, Sample, Segment, Serialized, TaskManifest


class Asked(Sample):
    text: str
    answer: str | None = None


def row_of(sample, markers=True):
    segments = [Segment(sample.text, Region.BIDIRECTIONAL), Segment("It is", Region.AUTOREGRESSIVE)]
    return answer_row(segments, sample.answer, markers)


def serialize_sample(sample, config):
    return Serialized((row_of(sample, config.instruction != "lines"),))


def build_head(config, backbone):
    return nn.Module()


def compute_loss(head, view):
    return answer_losses(view)


def decode(head, view, generate):
    return [Prediction(id=sample.id) for sample in view.samples]


def task():
    module = ModuleType("answering")
    module.MANIFEST = TaskManifest(
        task="answering", summary="answers", hook_api=(HOOK_API, HOOK_API), sample=Asked, prediction=Prediction,
        config=TaskConfig, label_field="", score_field="",
    )  # fmt: skip
    for hook in (serialize_sample, build_head, compute_loss, decode):
        setattr(module, hook.__name__, hookimpl(hook))
    return task_from_module(module)


def tuned(backbone, instruction="markers", noise=0.0):
    config = TaskConfig(instruction=instruction, max_tokens=128)
    made = build_tuned(task(), config, backbone, KIT_TUNING)
    return perturb(made, 0, noise) if noise else made


SAMPLES = [
    Asked(id="a", text="boots", answer="red"),
    Asked(id="b", text="The Matrix", answer="a film"),
    Asked(id="c", text="Heat", answer="loved by most"),
]


def test_eos_is_scored_in_rows_that_say_so():
    backbone = tiny_backbone()
    encoder = RowEncoder(backbone.tokenizer, 2, 99)
    row = row_of(SAMPLES[0])
    found = encoder(row)
    end = len(found.ids) - 1
    assert found.ids[end] == backbone.tokenizer.marker(Marker.TARGET_END)
    assert found.scored[-1] == end
    assert len(found.scored) == len(backbone.tokenizer.encode(" red")) + 1
    assert encoder(prompt_row(row)).scored == ()
    assert end not in encoder(answer_row(row.segments, None, markers=True)).scored


def test_a_scored_end_has_the_likelihood_it_is_written_with():
    backbone = tiny_backbone()
    model = M6Rec(backbone, {"one": tuned(backbone, noise=0.2)}, writer).eval()
    sample = SAMPLES[0]
    config = DecodingConfig(method="beam", beams=4, texts=2)
    trie = allowed_texts(model, [" red", " red boots"])
    [written] = write_rows(model, [("one", prompt_row(row_of(sample)))], config, trie)
    [short] = [one for one in written if one.text == " red"]  # the other text goes on, so this one has to stop
    [encoded] = encode_samples("one", tuned(backbone), [sample], backbone)
    view = model.views(one_batch([encoded], backbone))["one"]
    assert view.scored.ids[-1] == backbone.spec.vocabulary
    assert view.vocabulary(view.scored.hidden).shape[-1] == backbone.spec.vocabulary + 1
    scored = token_log_likelihood(view.scored, view.vocabulary)
    assert short.tokens == len(scored)
    assert short.log_likelihood == pytest.approx(float(scored.detach().sum()), rel=1e-6)


def test_tasks_that_end_otherwise_keep_their_likelihood_in_a_mixed_batch():
    backbone = tiny_backbone()
    parts = {"one": tuned(backbone, noise=0.2), "two": tuned(backbone, "lines", noise=0.2)}
    model = M6Rec(backbone, parts, writer).eval()
    encoded = [one for name, part in parts.items() for one in encode_samples(name, part, SAMPLES, backbone)]
    mixed = model(one_batch(encoded, backbone))
    for name in parts:
        alone = model(one_batch([one for one in encoded if one.task == name], backbone))[name]
        torch.testing.assert_close(mixed[name], alone)
    assert model.views(one_batch(encoded, backbone))["two"].vocabulary == backbone.vocabulary


def test_training_teaches_where_to_stop():
    torch.manual_seed(0)
    backbone = tiny_backbone()
    made = tuned(backbone)
    model = M6Rec(backbone, {"one": made}, writer).train()
    batch = one_batch(encode_samples("one", made, SAMPLES, backbone), backbone)
    optimizer = torch.optim.Adam([p for p in made.tuning.parameters() if p.requires_grad], lr=0.02)
    for _ in range(150):
        optimizer.zero_grad()
        model(batch)["one"].mean().backward()
        optimizer.step()
    written = write_rows(
        model.eval(), [("one", prompt_row(row_of(one))) for one in SAMPLES], DecodingConfig(max_new_tokens=30)
    )
    assert [[one.text for one in row] for row in written] == [[f" {one.answer}"] for one in SAMPLES]
    assert all(one.finished for row in written for one in row)  # without any stop string
