"""Are generated titles new, or copies of what the catalogue has already."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence

import numpy as np

from m6rec_core.metrics.evidence import RowSums, row_mean

_GAPS = re.compile(r"[\W_]+")


def normalised(text: str) -> str:
    """Return what two titles have in common if they are the same: NFKC, case folded, words joined by single blanks.

    Punctuation and symbols part words and are dropped; a text of nothing else (an emoji) keeps them.
    """
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return _GAPS.sub(" ", folded).strip() or " ".join(folded.split())


def copies(hypotheses: Sequence[str], catalogue: Iterable[str]) -> RowSums:
    """Return the share of texts that are exact copies of a catalogue entry after `normalised`."""
    known = {normalised(entry) for entry in catalogue} - {""}
    return row_mean(np.array([normalised(text) in known for text in hypotheses], dtype=np.float64))


def novelty(hypotheses: Sequence[str], catalogue: Iterable[str]) -> RowSums:
    """Return the share of texts that are not empty and not copies: 1 - copies, but an empty text is not new."""
    known = {normalised(entry) for entry in catalogue} | {""}
    return row_mean(np.array([normalised(text) not in known for text in hypotheses], dtype=np.float64))
