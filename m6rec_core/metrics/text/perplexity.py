"""Perplexity per token, per word and per byte from summed log likelihoods.

Per token depends on the tokenizer of the backbone; per word and per byte divide the same likelihood by units of the
text, so models with different tokenizers may be compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from m6rec_core.errors import DataError
from m6rec_core.metrics.evidence import RowSums, ratio
from m6rec_core.metrics.ranking import FloatArray, checked_values
from m6rec_core.metrics.text.ngrams import tokenized

UNITS = ("tokens", "words", "bytes")


@dataclass(frozen=True, slots=True, eq=False)
class Likelihoods:
    """Of each reference text: the sum of the log likelihoods of its tokens in nats, and its lengths. [n] each.

    `tokens` counts the scored tokens of the backbone, [EOS] included if it was scored; `words` and `bytes` those of the
    text.

    Raises:
        DataError: other lengths, a log likelihood above 0 or not a number, a negative count.
    """

    log_likelihood: NDArray[Any]
    tokens: NDArray[Any]
    words: NDArray[Any]
    bytes: NDArray[Any]

    def __post_init__(self) -> None:
        """Check the values and bring all arrays to one type."""
        rows = int(np.asarray(self.log_likelihood).size)
        for name in ("log_likelihood", *UNITS):
            values = checked_values(name, getattr(self, name), rows)
            wrong = np.flatnonzero(values > 0.0 if name == "log_likelihood" else values < 0.0)
            if wrong.size:
                row = int(wrong[0])
                raise DataError(f"{name}, row {row}: {values[row]} is impossible; sum the log probabilities of tokens")
            object.__setattr__(self, name, values)


def likelihoods_of(
    texts: Sequence[str], log_likelihood: ArrayLike, tokens: ArrayLike, tokenizer: str = "blanks"
) -> Likelihoods:
    """Return `Likelihoods` with the words (by `tokenizer`) and the UTF-8 bytes of the texts counted."""
    words = np.array([len(row) for row in tokenized(texts, tokenizer)], dtype=np.float64)
    size = np.array([len(text.encode("utf-8", "surrogatepass")) for text in texts], dtype=np.float64)
    return Likelihoods(np.asarray(log_likelihood), np.asarray(tokens), words, size)


def _exponential(sums: FloatArray) -> FloatArray:
    with np.errstate(over="ignore"):  # a hopeless model has infinite perplexity, which is a value
        values: FloatArray = np.exp(-ratio(sums[:, 0], sums[:, 1]))
    return values


def perplexity(likelihoods: Likelihoods, unit: str) -> RowSums:
    """Return PPL = exp(-sum of log likelihoods / sum of units) over the corpus; `unit`: tokens, words or bytes.

    nan without any unit. Rows weigh by their length.
    """
    counts = {"tokens": likelihoods.tokens, "words": likelihoods.words, "bytes": likelihoods.bytes}[unit]
    return RowSums(np.stack([likelihoods.log_likelihood, counts], axis=1), _exponential)
