"""What counting and comparing words can do on the same choices: random, popularity, and two title similarities."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from m6rec_core.errors import ConfigError
from m6rec_plugin_zeroshot.sample import ChoiceSample

Floats = NDArray[np.float64]
_WORD = re.compile(r"\w+")


def words(text: str) -> list[str]:
    """The words of a text in lower case."""
    return _WORD.findall(text.lower())


def constant(samples: Sequence[ChoiceSample]) -> list[Floats] | None:
    """One score for all choices: with ties at their expected value this is chance itself, without its noise."""
    return [np.zeros(len(sample.choices)) for sample in samples]


def popularity(samples: Sequence[ChoiceSample]) -> list[Floats] | None:
    """How often others chose each choice; None where a sample does not say."""
    if any(choice.popularity is None for sample in samples for choice in sample.choices):
        return None
    return [np.array([float(choice.popularity or 0.0) for choice in sample.choices]) for sample in samples]


def title_overlap(samples: Sequence[ChoiceSample]) -> list[Floats] | None:
    """Jaccard similarity of a choice's words with those of the nearest title of the context."""
    return [
        np.array([max(map(_jaccard, [_set(c.text)] * len(pieces), map(_set, pieces)), default=0.0) for c in s.choices])
        for s in samples
        for pieces in [_pieces(s)]
    ]


def title_similarity(samples: Sequence[ChoiceSample]) -> list[Floats] | None:
    """Cosine of TF-IDF word vectors between a choice and the whole context.

    Document frequencies come from the choices and titles of the same samples, whose labels are not looked at.
    """
    texts = {text for sample in samples for text in (*_pieces(sample), *(choice.text for choice in sample.choices))}
    seen = Counter(word for text in texts for word in _set(text))
    weight = {word: math.log((1 + len(texts)) / (1 + count)) + 1.0 for word, count in seen.items()}
    return [
        np.array([_cosine(_vector(choice.text, weight), own) for choice in sample.choices])
        for sample in samples
        for own in [_vector(" ".join(_pieces(sample)), weight)]
    ]


RIVALS: Mapping[str, Callable[[Sequence[ChoiceSample]], list[Floats] | None]] = MappingProxyType(
    {
        "random": constant,
        "popularity": popularity,
        "title-overlap": title_overlap,
        "title-similarity": title_similarity,
    }
)
"""Name -> scores per sample, in the order of the report; None where the samples lack what it needs."""


def rivals(samples: Sequence[ChoiceSample], asked: Sequence[str] | None) -> dict[str, list[Floats]]:
    """The scores of each rival, of those `asked` for or of all. Raises ConfigError for an unknown name."""
    unknown = [name for name in asked or () if name not in RIVALS]
    if unknown:
        raise ConfigError(
            f"evaluation.baselines: there is no baseline {unknown[0]!r} for this task (there are: {', '.join(RIVALS)})"
        )
    found = {name: function(samples) for name, function in RIVALS.items() if asked is None or name in asked}
    return {name: scores for name, scores in found.items() if scores is not None}


def _pieces(sample: ChoiceSample) -> tuple[str, ...]:
    return (sample.context,) if isinstance(sample.context, str) else sample.context


def _set(text: str) -> frozenset[str]:
    return frozenset(words(text))


def _jaccard(left: frozenset[str], right: frozenset[str]) -> float:
    return len(left & right) / len(left | right) if left | right else 0.0


def _vector(text: str, weight: Mapping[str, float]) -> dict[str, float]:
    return {word: count * weight[word] for word, count in Counter(words(text)).items()}


def _cosine(left: Mapping[str, float], right: Mapping[str, float]) -> float:
    norm = math.sqrt(sum(v * v for v in left.values()) * sum(v * v for v in right.values()))
    return sum(value * right.get(word, 0.0) for word, value in left.items()) / norm if norm else 0.0
