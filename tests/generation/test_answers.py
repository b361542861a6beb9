"""Losses and likelihoods of answers against a plain computation, with answers missing and rows out of order."""

import math

import pytest
import torch

from m6rec_core.errors import DataError
from m6rec_core.generation import (
    AnswerLikelihood,
    answer_losses,
    answer_row,
    answer_segment,
    answer_text,
    nearest_answers,
    prompt_row,
)
from m6rec_core.generation.answers import answer_likelihoods
from m6rec_core.types import Region, Sample, ScoredTokens, Segment, TaskView, TextRow

WIDTH, VOCABULARY = 4, 7


def view(lengths, sample_of_row=None):
    """Rows with `lengths` scored tokens each."""
    generator = torch.Generator().manual_seed(0)
    table = torch.randn(WIDTH, VOCABULARY, generator=generator, dtype=torch.float64)
    count = sum(lengths)
    scored = ScoredTokens(
        hidden=torch.randn(count, WIDTH, generator=generator, dtype=torch.float64),
        ids=torch.randint(0, VOCABULARY, (count,), generator=generator),
        row=torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths)),
    )
    order = torch.tensor(sample_of_row or range(len(lengths)))
    samples = tuple(Sample(id=f"s{n}") for n in range(len(lengths)))
    return TaskView("t", samples, order, torch.zeros(len(lengths), WIDTH), None, scored, lambda h: h @ table)


def plain(found):
    """Per row the log p of its tokens, one by one."""
    values = {}
    for hidden, token, row in zip(found.scored.hidden, found.scored.ids, found.scored.row, strict=True):
        values.setdefault(int(row), []).append(float(torch.log_softmax(found.vocabulary(hidden), 0)[token]))
    return values


def test_losses_are_means_per_token_in_the_order_of_samples():
    found = view([3, 1, 2], [2, 0, 1])
    expected = plain(found)
    losses = answer_losses(found).tolist()
    for row, sample in enumerate([2, 0, 1]):
        assert losses[sample] == pytest.approx(-sum(expected[row]) / len(expected[row]))


def test_likelihoods_are_sums_and_missing_answers_stay_missing():
    found = view([3, 0, 2])
    expected = plain(found)
    first, second, third = answer_likelihoods(found)
    assert second is None
    assert isinstance(first, AnswerLikelihood)
    assert first.tokens == 3
    assert math.isclose(first.log_likelihood, sum(expected[0]))
    assert third.tokens == 2
    assert math.isclose(third.log_likelihood, sum(expected[2]))
    assert answer_likelihoods(view([0, 0])) == [None, None]


def test_no_answer_is_no_loss():
    with pytest.raises(DataError, match="sample s1: it has no answer"):
        answer_losses(view([3, 0]))


def test_one_row_per_sample():
    found = view([1, 1])
    wrong = TaskView("t", found.samples[:1], torch.tensor([0, 0]), found.hidden, None, found.scored, found.vocabulary)
    with pytest.raises(DataError, match="2 text rows for 1 samples"):
        answer_losses(wrong)


def test_prompt_and_answer():
    question = Segment("Query:", Region.AUTOREGRESSIVE)
    row = TextRow((question, answer_segment("red\n boots ")), markers=False)
    assert row.segments[1].text == answer_text("red boots") == " red boots\n"
    assert prompt_row(row) == TextRow((question,), markers=False)
    assert answer_row([question], "red\nboots", markers=False) == row


def test_in_a_row_with_markers_eos_is_the_end_of_the_answer():
    question = Segment("Query:", Region.AUTOREGRESSIVE)
    row = answer_row([question], "red boots", markers=True)
    assert row.scored_end
    assert row.segments[1].text == answer_text("red boots", markers=True) == " red boots"
    assert prompt_row(row) == answer_row([question], None, markers=True) == TextRow((question,), markers=True)


def test_nearest_against_brute_force():
    texts = ["red boots for snow", "blue socks", "a lamp", "red lamp red"]
    answers = ["a", "b", "c", "d"]
    assert nearest_answers(texts, answers, ["Socks in BLUE", "boots", "lamp", "nothing alike"]) == ["b", "a", "c", "a"]
    assert nearest_answers(["。"], ["x"], ["y"], "rouge") == ["x"]
    with pytest.raises(DataError, match="0 texts"):
        nearest_answers([], [], ["a"])
