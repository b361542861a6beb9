"""Likelihood of the answer's tokens under the language model (paper 3.2, zero-shot scoring and generation tasks)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from m6rec_core.errors import ConfigError, DataError
from m6rec_core.types import ScoredTokens

Vocabulary = Callable[[Tensor], Tensor]
Normalise = Literal["token", "sum"]
Normalisation = Literal["sum", "token", "byte", "prior"]


@dataclass(frozen=True, slots=True)
class TextLikelihood:
    """What the language model says about texts, whatever the shape [..]: `sums` of log p over a text's scored tokens,
    their number `tokens`, and the text's length `lengths` in UTF-8 bytes (all floating, the same shape).
    """

    sums: Tensor
    tokens: Tensor
    lengths: Tensor


def normalised(text: TextLikelihood, rule: Normalisation, prior: Tensor | None = None) -> Tensor:
    """Return one score per text [..] under a rule that makes texts of unlike length comparable.

    "sum": log p of the whole text, which favours short ones. "token": the mean per token, the paper's (3.2). "byte":
    per byte, which does not depend on the tokenizer. "prior": the sum minus `prior`, the text's log p without the
    context, so that what is probable anywhere gains nothing (pointwise mutual information). Raises ConfigError for
    "prior" without `prior`.
    """
    if rule == "sum":
        return text.sums
    if rule == "token":
        return text.sums / text.tokens
    if rule == "byte":
        return text.sums / text.lengths
    if prior is None:
        raise ConfigError("the normalisation 'prior' needs the likelihood of every text without its context")
    return text.sums - prior


def token_log_likelihood(scored: ScoredTokens, vocabulary: Vocabulary, chunk: int = 256) -> Tensor:
    """Return log p of each scored token [M], at least float32.

    The logits [M, V] never exist at once: `chunk` tokens are scored at a time, and in training each chunk's logits are
    computed again in the backward pass instead of being kept. The result does not depend on `chunk`.
    """
    parts = []
    for start in range(0, scored.ids.shape[0], chunk):
        hidden, ids = scored.hidden[start : start + chunk], scored.ids[start : start + chunk]
        if torch.is_grad_enabled():
            parts.append(checkpoint(_chunk_log_likelihood, hidden, ids, vocabulary, use_reentrant=False))
        else:
            parts.append(_chunk_log_likelihood(hidden, ids, vocabulary))
    if not parts:
        return scored.hidden.new_zeros(0, dtype=torch.promote_types(scored.hidden.dtype, torch.float32))
    return torch.cat(parts)


def row_likelihood(
    scored: ScoredTokens, vocabulary: Vocabulary, rows: int, normalise: Normalise = "token", chunk: int = 256
) -> Tensor:
    """Return one log likelihood per row [R], R = `rows`: the mean over its scored tokens (the paper's), or the sum.

    Raises DataError when a row has no scored token, since nothing can be said about it.
    """
    sums, counts = row_sums(scored, vocabulary, rows, chunk)
    return sums / counts if normalise == "token" else sums


def row_sums(scored: ScoredTokens, vocabulary: Vocabulary, rows: int, chunk: int = 256) -> tuple[Tensor, Tensor]:
    """Return the sum of log p over the scored tokens of each row, and their number, both [R] with R = `rows`.

    Raises DataError when a row has no scored token, since nothing can be said about it.
    """
    tokens = token_log_likelihood(scored, vocabulary, chunk)
    counts = torch.bincount(scored.row, minlength=rows)
    if bool((counts == 0).any()):
        row = int((counts == 0).nonzero()[0])
        raise DataError(f"row {row} of the batch has no scored token: its answer text is empty")
    sums = tokens.new_zeros(rows).index_add(0, scored.row, tokens)
    return sums, counts.to(sums.dtype)


def _chunk_log_likelihood(hidden: Tensor, ids: Tensor, vocabulary: Vocabulary) -> Tensor:
    """Return log p [m] of `ids` [m] given `hidden` [m, D]; the softmax runs in at least float32."""
    logits = vocabulary(hidden)
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    return logits.gather(1, ids[:, None]).squeeze(1) - logits.logsumexp(1)
