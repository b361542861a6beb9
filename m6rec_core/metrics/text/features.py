"""Do explanations name features: FMR, FCR and DIV of PETER (Li et al. 2021), from their formulas.

A feature is one or more words; a text mentions it if its words stand there side by side.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

from m6rec_core.metrics.evidence import LeaveOneOut, RowSums, distinct_share, ratio, row_mean
from m6rec_core.metrics.text.ngrams import ngrams, tokenized

Mentions = Sequence[frozenset[str]]
"""The features that each text mentions, by row."""


def mentioned_features(texts: Sequence[str], features: Iterable[str], tokenizer: str = "13a") -> list[frozenset[str]]:
    """Return which of `features` each text mentions; case does not matter. O(words * distinct feature lengths)."""
    names = sorted({name for name in features if name.strip()})
    by_words: dict[tuple[str, ...], list[str]] = {}
    for name, words in zip(names, tokenized([name.lower() for name in names], tokenizer), strict=True):
        by_words.setdefault(tuple(words), []).append(name)
    lengths = sorted({len(words) for words in by_words})
    return [
        frozenset(name for n in lengths for gram in ngrams(tokens, n) for name in by_words.get(gram, ()))
        for tokens in tokenized([text.lower() for text in texts], tokenizer)
    ]


def feature_matching(mentions: Mentions, wanted: Sequence[str | None]) -> RowSums:
    """Return FMR = mean over rows of [wanted feature in text]; rows that want none (None) are not counted."""
    hit = [feature is not None and feature in row for row, feature in zip(mentions, wanted, strict=True)]
    return row_mean(np.array(hit, dtype=np.float64), np.array([feature is not None for feature in wanted], dtype=bool))


def feature_coverage(mentions: Mentions, features: frozenset[str]) -> LeaveOneOut:
    """Return FCR = features mentioned by any text / all features F; nan if F is empty. What is not in F is ignored."""
    return distinct_share([row & features for row in mentions], None, float(len(features)))


def feature_diversity(mentions: Mentions) -> LeaveOneOut:
    """Return DIV = mean over pairs i < j of |F_i and F_j|; less is more diverse; nan for fewer than two rows.

    In O(n): a feature in c rows is shared by c (c - 1) / 2 pairs. Without row i each of its features loses c - 1 pairs.
    """
    counts = Counter(feature for row in mentions for feature in row)
    n = len(mentions)
    shared = sum(count * (count - 1) / 2 for count in counts.values())
    lost = np.array([sum(counts[feature] - 1 for feature in row) for row in mentions], dtype=np.float64)
    return LeaveOneOut(float(ratio(shared, n * (n - 1) / 2)), ratio(shared - lost, (n - 1) * (n - 2) / 2))
