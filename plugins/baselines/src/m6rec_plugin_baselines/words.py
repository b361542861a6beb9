"""Item texts as bags of words: a vocabulary made from the training items, and every item in it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from m6rec_core.baselines.data import IntArray
from m6rec_core.logs.leave_one_out import BoolArray

UNKNOWN = 0
"""The word id of an item without a known word."""

_WORD = re.compile(r"\w+")


@dataclass(frozen=True, slots=True, eq=False)
class ItemWords:
    """Word ids of all items one after another; item i has `ids[offsets[i]:offsets[i + 1]]`. `vocabulary` [W - 1]."""

    ids: IntArray
    offsets: IntArray
    vocabulary: tuple[str, ...]

    @property
    def count(self) -> int:
        """The number of word ids W, the unknown one included."""
        return len(self.vocabulary) + 1


def item_words(texts: Sequence[str], trained: BoolArray, fewest: int = 2) -> ItemWords:
    """Return the items' words; the vocabulary is every word of at least `fewest` of the items `trained` [I].

    A word of one item only would become that item's id, and would say nothing about an unseen one. Each word counts
    once per item, in lower case.
    """
    split = [list(dict.fromkeys(_WORD.findall(text.lower()))) for text in texts]
    counted = Counter(word for words, known in zip(split, trained, strict=True) if known for word in words)
    vocabulary = tuple(sorted(word for word, times in counted.items() if times >= fewest))
    place = {word: code for code, word in enumerate(vocabulary, start=1)}
    bags = [[place[word] for word in words if word in place] or [UNKNOWN] for words in split]
    offsets = np.cumsum([0, *(len(bag) for bag in bags)])[:-1]
    return ItemWords(np.concatenate(bags).astype(np.int64), offsets.astype(np.int64), vocabulary)
