"""What a search engine would say: the answer of the known text that resembles the asked one most."""

from __future__ import annotations

from collections.abc import Sequence

from m6rec_core.errors import DataError
from m6rec_core.metrics.text import TOKENIZERS

CHUNK = 1024
"""Asked texts compared at a time."""


def nearest_answers(
    texts: Sequence[str], answers: Sequence[str], asked: Sequence[str], tokenizer: str = "13a"
) -> list[str]:
    """Return for each asked text the answer of the text nearest to it by TF-IDF cosine; [n of `asked`].

    `texts`, `answers`: of equal length, not empty. Lower case, tokens by `tokenizer`
    (`m6rec_core.metrics.text.TOKENIZERS`). Of equally near texts the first one answers, also where none shares a word.
    """
    if not texts or len(texts) != len(answers):
        raise DataError(f"nearest answers: {len(texts)} texts and {len(answers)} answers; give one answer per text")
    from sklearn.feature_extraction.text import TfidfVectorizer

    split = TOKENIZERS[tokenizer]
    vectorizer = TfidfVectorizer(tokenizer=split, token_pattern=None, lowercase=True)
    if not any(split(text.lower()) for text in texts):
        return [answers[0]] * len(asked)
    known = vectorizer.fit_transform(texts)
    found: list[str] = []
    for start in range(0, len(asked), CHUNK):
        near = (vectorizer.transform(asked[start : start + CHUNK]) @ known.T).toarray().argmax(axis=1)
        found.extend(answers[int(place)] for place in near)
    return found
