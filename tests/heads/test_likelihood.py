import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from m6rec_core.errors import DataError
from m6rec_core.heads.likelihood import row_likelihood, token_log_likelihood
from m6rec_core.types import ScoredTokens

TABLE = torch.randn(11, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def vocabulary(hidden: torch.Tensor) -> torch.Tensor:
    return hidden @ TABLE.to(hidden.dtype).T


def scored(rows: list[int]) -> ScoredTokens:
    generator = torch.Generator().manual_seed(len(rows))
    return ScoredTokens(
        hidden=torch.randn(len(rows), 6, dtype=torch.float64, generator=generator),
        ids=torch.randint(0, 11, (len(rows),), generator=generator),
        row=torch.tensor(rows, dtype=torch.long),
    )


def brute_force(tokens: ScoredTokens) -> list[float]:
    found = []
    for hidden, token in zip(tokens.hidden.tolist(), tokens.ids.tolist(), strict=True):
        logits = [sum(h * w for h, w in zip(hidden, word, strict=True)) for word in TABLE.tolist()]
        found.append(logits[token] - math.log(sum(math.exp(x) for x in logits)))
    return found


@settings(deadline=None)
@given(st.integers(0, 13), st.integers(1, 15))
def test_tokens_against_brute_force_whatever_the_chunk(count, chunk):
    tokens = scored([0] * count)
    assert token_log_likelihood(tokens, vocabulary, chunk).tolist() == pytest.approx(brute_force(tokens), abs=1e-12)


@settings(deadline=None)
@given(st.permutations([0, 0, 0, 1, 2, 2]))
def test_rows_are_means_or_sums_of_their_tokens_in_any_order(rows):
    tokens = scored(rows)
    per_token = brute_force(tokens)
    for row in range(3):
        own = [value for value, r in zip(per_token, rows, strict=True) if r == row]
        mean = row_likelihood(tokens, vocabulary, 3, chunk=2)[row]
        total = row_likelihood(tokens, vocabulary, 3, normalise="sum")[row]
        assert float(mean) == pytest.approx(sum(own) / len(own), abs=1e-12)
        assert float(total) == pytest.approx(sum(own), abs=1e-12)


def test_gradients_do_not_depend_on_the_chunk():
    gradients = []
    for chunk in (2, 100):
        tokens = scored([0, 0, 1, 1, 1])
        tokens.hidden.requires_grad_()
        row_likelihood(tokens, vocabulary, 2, chunk=chunk).sum().backward()
        gradients.append(tokens.hidden.grad)
    assert gradients[0] is not None
    assert gradients[0].abs().sum() > 0
    torch.testing.assert_close(gradients[0], gradients[1])


def test_chunks_bound_the_logits_in_memory():
    largest = []

    def watched(hidden: torch.Tensor) -> torch.Tensor:
        largest.append(hidden.shape[0])
        return vocabulary(hidden)

    token_log_likelihood(scored([0] * 10), watched, chunk=4)
    assert largest == [4, 4, 2]


def test_bf16_logits_are_normalised_in_float32():
    tokens = scored([0, 0])
    half = ScoredTokens(tokens.hidden.bfloat16(), tokens.ids, tokens.row)
    result = token_log_likelihood(half, vocabulary)
    assert result.dtype == torch.float32
    assert result.tolist() == pytest.approx(brute_force(tokens), abs=0.1)


def test_a_row_without_answer_tokens_is_named():
    with pytest.raises(DataError, match="row 1"):
        row_likelihood(scored([0, 2]), vocabulary, 3)
