"""Tokenisations by name, and n-grams. The name of the tokenisation is part of every text metric's signature."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import numpy as np
from sacrebleu.metrics.bleu import BLEU

from m6rec_core.errors import ConfigError
from m6rec_core.metrics.ranking import FloatArray

Tokens = Sequence[str]
Tokenizer = Callable[[str], list[str]]

_NOT_ROUGE = re.compile(r"[^a-z0-9]+")

SACREBLEU_TOKENIZERS = ("13a", "zh", "char")
"""Those that are sacrebleu's own, under its names."""


def _sacrebleu(name: str) -> Tokenizer:
    tokenize = BLEU(tokenize=name).tokenizer
    return lambda text: str(tokenize(text.rstrip())).split()


def _rouge(text: str) -> list[str]:
    return _NOT_ROUGE.sub(" ", text.lower()).split()


TOKENIZERS: Mapping[str, Tokenizer] = MappingProxyType(
    {
        "blanks": str.split,
        "blanks-lc": lambda text: text.lower().split(),
        "rouge": _rouge,
        **{name: _sacrebleu(name) for name in SACREBLEU_TOKENIZERS},
    }
)
"""Name -> text to tokens. blanks: split on white space. rouge: that of the rouge-score package, lower case and ASCII
letters and digits only (a text without any has no tokens). 13a, zh, char: those of sacrebleu; zh parts Chinese
characters and keeps other words whole."""


def tokenized(texts: Sequence[str], tokenizer: str) -> list[list[str]]:
    """Return the tokens of each text.

    Raises:
        ConfigError: no such tokenisation.
    """
    if tokenizer not in TOKENIZERS:
        raise ConfigError(f"tokenisation {tokenizer!r} is not known; choose one of {', '.join(TOKENIZERS)}")
    function = TOKENIZERS[tokenizer]
    return [function(text) for text in texts]


def ngrams(tokens: Tokens, n: int) -> list[tuple[str, ...]]:
    """Return the n-grams of one text in order, max(len - n + 1, 0) of them."""
    return list(zip(*(tokens[start:] for start in range(n)), strict=False))


def matches(hypothesis: Tokens, reference: Tokens, n: int) -> int:
    """Return how many n-grams the two have in common, each counted as often as the rarer side has it."""
    if len(hypothesis) < n or len(reference) < n:
        return 0
    first, second = Counter(ngrams(hypothesis, n)), Counter(ngrams(reference, n))
    return sum(min(first[gram], second[gram]) for gram in first.keys() & second.keys())


def overlap_table(hypotheses: Sequence[Tokens], references: Sequence[Tokens], order: int) -> FloatArray:
    """Return BLEU's statistics of each row, [n, 2 + 2 * order].

    Columns: tokens of the hypothesis, tokens of the reference, matches of order 1..order, n-grams of the hypothesis of
    order 1..order.
    """
    table = np.zeros((len(hypotheses), 2 + 2 * order))
    for row, (hypothesis, reference) in enumerate(zip(hypotheses, references, strict=True)):
        table[row, :2] = len(hypothesis), len(reference)
        for n in range(1, order + 1):
            table[row, 1 + n] = matches(hypothesis, reference, n)
            table[row, 1 + order + n] = max(len(hypothesis) - n + 1, 0)
    return table
