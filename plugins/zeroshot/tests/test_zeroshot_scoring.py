"""Likelihoods: against a loop over tokens, all choices in one pass against one by one, and the untuned start."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from m6rec_plugin_zeroshot import plugin
from m6rec_plugin_zeroshot.evaluate import rescored
from m6rec_plugin_zeroshot.head import combined
from m6rec_plugin_zeroshot.sample import ChoiceSample
from m6rec_plugin_zeroshot.serialize import serialize
from m6rec_plugin_zeroshot.settings import ZeroshotConfig

from m6rec_core.config import TuningConfig
from m6rec_core.errors import DataError
from m6rec_core.model import M6Rec
from m6rec_core.testing import build_tuned, encode_samples, one_batch, tiny_backbone
from m6rec_core.text.domains import MOVIES

BACKBONE = tiny_backbone(layers=2)
PLAIN = copy.deepcopy(BACKBONE.decoder)
PLAIN.set_attn_implementation("eager")
ADAPTER = TuningConfig(mode="adapter", budget=0.9)
WORDS = st.text(alphabet="abc ABC,.é", min_size=1, max_size=12).filter(str.strip)
SAMPLE = ChoiceSample(id="a", context=("Babe", "Heat"), choices=("Alien", "Speed"), label=1)


def model_of(config, tuning=ADAPTER):
    tuned = build_tuned(plugin, config, BACKBONE, tuning)
    return tuned, M6Rec(BACKBONE, {"zeroshot": tuned}).eval()


def predict(config, samples, merged=True, tuning=ADAPTER):
    tuned, model = model_of(config, tuning)
    return model.predict(one_batch(encode_samples("zeroshot", tuned, samples, BACKBONE), BACKBONE, merged))["zeroshot"]


def by_hand(row):
    """Sum of log p over the scored tokens of one row, the backbone called on the plain tokens of this row alone."""
    ids, scored = [], []
    for segment in row.segments:
        tokens = BACKBONE.tokenizer.encode(segment.text)
        scored += [segment.scored] * len(tokens)
        ids += tokens
    with torch.no_grad():
        logits = PLAIN(input_ids=torch.tensor([ids])).logits[0].double().log_softmax(-1)
    return sum(float(logits[t - 1, ids[t]]) for t in range(1, len(ids)) if scored[t])


@pytest.mark.parametrize("normalise", ["sum", "token", "byte", "prior"])
def test_the_untuned_start_is_the_bare_backbone(normalise):
    config = ZeroshotConfig(domain=MOVIES, normalise=normalise, prompts="like")
    rows = [by_hand(row) for row in serialize(SAMPLE, config).rows]
    [answer] = predict(config, [SAMPLE])
    assert answer.likelihoods[0].sums == pytest.approx(rows[:2], abs=2e-6)  # the reference has a float32 softmax
    counts = [len(BACKBONE.tokenizer.encode(f" {choice.text}")) for choice in SAMPLE.choices]
    lengths = [len(choice.text.encode()) for choice in SAMPLE.choices]
    expected = {
        "sum": rows[:2],
        "token": [s / n for s, n in zip(rows, counts, strict=False)],
        "byte": [s / n for s, n in zip(rows, lengths, strict=False)],
        "prior": [s - p for s, p in zip(rows[:2], rows[2:] or rows[:2], strict=True)],
    }[normalise]
    assert answer.scores == pytest.approx(expected, abs=2e-6)
    assert answer.tokens == tuple(counts)
    assert answer.best == SAMPLE.choices[max(range(2), key=lambda n: expected[n])].id


@settings(deadline=None, max_examples=25)
@given(
    st.lists(WORDS, max_size=4),
    st.lists(WORDS, min_size=2, max_size=6, unique=True),
    st.sampled_from([("list",), ("like", "clicks")]),
    st.booleans(),
)
def test_all_in_one_pass_equals_one_by_one(titles, choices, prompts, prior):
    config = ZeroshotConfig(domain=MOVIES, prompts=prompts, normalise="prior" if prior else "token")
    sample = ChoiceSample(id="a", context=tuple(titles), choices=tuple(choices))
    [together] = predict(config, [sample])
    # One by one: every other choice is replaced by a filler, so that each is scored in a pass of its own.
    for place, choice in enumerate(sample.choices):
        alone = ChoiceSample(id="a", context=tuple(titles), choices=(choice, {"id": "filler", "text": "zzz"}))
        [single] = predict(config, [alone], merged=False)
        assert single.scores[0] == pytest.approx(together.scores[place], abs=1e-9)


def test_a_prefix_backbone_computes_the_source_once_for_all_choices():
    backbone = tiny_backbone("qwen3", layers=2, attention="prefix")
    config = ZeroshotConfig(domain=MOVIES, prompts="clicks", markers=True)
    tuned = build_tuned(plugin, config, backbone, ADAPTER)
    sample = ChoiceSample(id="a", context=("Babe", "Heat"), choices=tuple(f"Film {n}" for n in range(20)))
    [encoded] = encode_samples("zeroshot", tuned, [sample], backbone)
    batch = one_batch([encoded], backbone)
    whole = sum(len(row.ids) for row in encoded.rows)
    assert batch.tokens < whole / 2
    shared = M6Rec(backbone, {"zeroshot": tuned}).eval().predict(batch)["zeroshot"][0].scores
    for place, choice in enumerate(sample.choices[:3]):
        pair = sample.model_copy(update={"choices": (choice, sample.choices[-1])})
        one = one_batch(encode_samples("zeroshot", tuned, [pair], backbone), backbone)
        assert M6Rec(backbone, {"zeroshot": tuned}).eval().predict(one)["zeroshot"][0].scores[0] == pytest.approx(
            shared[place], abs=1e-9
        )


def test_the_loss_is_that_of_the_right_choices_per_token_whatever_the_normalisation(samples):
    reference = None
    for normalise in ("token", "prior"):
        config = ZeroshotConfig(domain=MOVIES, normalise=normalise)
        tuned, model = model_of(config)
        batch = one_batch(encode_samples("zeroshot", tuned, samples, BACKBONE), BACKBONE)
        losses = model(batch)["zeroshot"].tolist()
        answers = model.predict(batch)["zeroshot"]
        for sample, answer, loss in zip(samples, answers, losses, strict=True):
            per_token = rescored(answer, "token")[0]
            assert loss == pytest.approx(-float(per_token[list(sample.label)].mean()), abs=1e-9)
        reference = reference or losses
        assert losses == pytest.approx(reference, abs=1e-9)


def test_a_loss_needs_a_label(samples):
    tuned, model = model_of(ZeroshotConfig(domain=MOVIES))
    blank = [samples[0].model_copy(update={"label": None})]
    with pytest.raises(DataError, match="sample a: no label"):
        model(one_batch(encode_samples("zeroshot", tuned, blank, BACKBONE), BACKBONE))


def test_averages_of_forms():
    scores = torch.tensor([[-1.0, -2.0], [-3.0, -2.0]], dtype=torch.float64)
    assert combined(scores, "scores").tolist() == [-2.0, -2.0]
    expected = scores.exp().mean(0).log().tolist()
    assert combined(scores, "probabilities").tolist() == pytest.approx(expected)


def test_scores_can_be_made_again_under_every_rule(samples):
    for rule in ("sum", "token", "byte", "prior"):
        config = ZeroshotConfig(domain=MOVIES, normalise=rule, prompts=("list", "like"))
        for answer in predict(config, samples):
            again = combined(rescored(answer, rule), config.average).tolist()
            assert answer.scores == pytest.approx(again, abs=1e-9)
