"""How varied the texts are together: Dist-n in both of its definitions, and the share of unique sentences."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from m6rec_core.metrics.evidence import LeaveOneOut, distinct_share
from m6rec_core.metrics.text.ngrams import ngrams, tokenized


def distinct_ngrams(hypotheses: Sequence[str], n: int, per_row: bool, tokenizer: str = "blanks") -> LeaveOneOut:
    """Return Dist-n of all rows together.

    Default: unique / total n-grams (Li et al. 2016; KOBE); nan without any n-gram. per_row: unique n-grams / rows, as
    KBRD computes it (Chen et al. 2019); may exceed 1. Both fall as rows are added: compare on the same number of rows.
    """
    found = [ngrams(tokens, n) for tokens in tokenized(hypotheses, tokenizer)]
    amounts = np.ones(len(found)) if per_row else np.array([len(row) for row in found], dtype=np.float64)
    return distinct_share(found, amounts)


def unique_sentences(hypotheses: Sequence[str], tokenizer: str = "blanks") -> LeaveOneOut:
    """Return USR = unique sentences / n (PETER, Li et al. 2021); two are the same if their tokens are."""
    found = [[tuple(tokens)] for tokens in tokenized(hypotheses, tokenizer)]
    return distinct_share(found, np.ones(len(found)))
