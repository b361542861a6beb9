"""ROUGE-1, -2 and -L (Lin 2004) with precision, recall and F1, averaged over rows. One reference per row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from m6rec_core.metrics.evidence import RowSums, row_mean
from m6rec_core.metrics.ranking import FloatArray
from m6rec_core.metrics.text.ngrams import Tokens, matches, ngrams, tokenized


@dataclass(frozen=True, slots=True, eq=False)
class RougeRows:
    """Precision, recall and F1 of each row, [n] each, in [0, 1]; 0 where there is nothing to divide by."""

    precision: FloatArray
    recall: FloatArray
    f1: FloatArray


def longest_common_subsequence(first: Tokens, second: Tokens) -> int:
    """Return the length of the longest common subsequence, bit-parallel: one integer operation per token of `second`.

    Bit i of `state` is 0 where the length grows at token i of `first` (Hyyro 2004).
    """
    where: dict[str, int] = {}
    for place, token in enumerate(first):
        where[token] = where.get(token, 0) | 1 << place
    full = (1 << len(first)) - 1
    state = full
    for token in second:
        hit = state & where.get(token, 0)
        state = ((state + hit) | (state - hit)) & full
    return len(first) - state.bit_count()


def _rows(common: Sequence[int], hypothesis: Sequence[int], reference: Sequence[int]) -> RougeRows:
    shared = np.asarray(common, dtype=np.float64)
    precision = shared / np.maximum(np.asarray(hypothesis, dtype=np.float64), 1.0)
    recall = shared / np.maximum(np.asarray(reference, dtype=np.float64), 1.0)
    both = precision + recall
    f1 = 2.0 * precision * recall / np.where(both > 0.0, both, 1.0)
    return RougeRows(precision, recall, f1)


def rouge_rows(hypotheses: Sequence[str], references: Sequence[str], kind: str, tokenizer: str = "rouge") -> RougeRows:
    """Return ROUGE of each row; `kind` is "1", "2" or "L".

    ROUGE-n: n-grams in common, clipped, over those of the hypothesis (precision) or of the reference (recall). ROUGE-L:
    the longest common subsequence over the tokens. No stemming.
    """
    pairs = list(zip(tokenized(hypotheses, tokenizer), tokenized(references, tokenizer), strict=True))
    if kind == "L":
        common = [longest_common_subsequence(hypothesis, reference) for hypothesis, reference in pairs]
        return _rows(common, [len(h) for h, _ in pairs], [len(r) for _, r in pairs])
    n = int(kind)
    common = [matches(hypothesis, reference, n) for hypothesis, reference in pairs]
    return _rows(common, [max(len(h) - n + 1, 0) for h, _ in pairs], [max(len(r) - n + 1, 0) for _, r in pairs])


def rouge_set_rows(hypotheses: Sequence[str], references: Sequence[str], n: int, tokenizer: str) -> RougeRows:
    """Return ROUGE-n of each row over sets of n-grams: repeats count once, as in the script PETER uses."""
    first = [set(ngrams(tokens, n)) for tokens in tokenized(hypotheses, tokenizer)]
    second = [set(ngrams(tokens, n)) for tokens in tokenized(references, tokenizer)]
    common = [len(a & b) for a, b in zip(first, second, strict=True)]
    return _rows(common, [len(a) for a in first], [len(b) for b in second])


def rouge(rows: RougeRows, part: str, scale: float = 1.0) -> RowSums:
    """Return the evidence of the mean over rows of "precision", "recall" or "f1", times `scale`."""
    values = {"precision": rows.precision, "recall": rows.recall, "f1": rows.f1}
    return row_mean(values[part], scale=scale)
