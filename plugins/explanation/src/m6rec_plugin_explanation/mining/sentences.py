"""Reviews as sentences, and sentences as words."""

from __future__ import annotations

import re
from collections.abc import Sequence

from m6rec_core.text.template import clean

_ENDS = re.compile(r"(?<=[.!?…])[\"')\]]*\s+|(?<=[a-z)][.!?])(?=[A-Z])|(?<=[。！？])|\s*[\r\n]+\s*")
_TOKEN = re.compile(r"[^\W_]+(?:['’\-/][^\W_]+)*|[^\w\s]")
_SHOUTED = re.compile(r"^[A-Z][a-z]+$|^A$")


def sentences_of(text: str) -> list[str]:
    """Return the sentences of a text, each on one line, none empty.

    A sentence ends at `.`, `!`, `?` before a blank, between a small and a capital letter ("nice.Would buy again"), and
    at a line end. Abbreviations are not known, so "approx. 5 feet" becomes two.
    """
    return [sentence for part in _ENDS.split(text) if (sentence := clean(part))]


def tokens_of(sentence: str) -> tuple[str, ...]:
    """Return words and punctuation in lower case; "don't", "true-to-size" and "i/p" are one word each."""
    return tuple(_TOKEN.findall(sentence.lower().replace("’", "'")))


def continuing(sentence: str) -> str:
    """Return the sentence as it goes on behind "because": "The fit" becomes "the fit"; "I", "USB" and "iPod" stay."""
    first, blank, rest = clean(sentence).partition(" ")
    return f"{first.lower() if _SHOUTED.match(first) else first}{blank}{rest}"


def has_letters(tokens: Sequence[str]) -> bool:
    """Whether any token is a word: a text of emoji or punctuation alone has none."""
    return any(token[0].isalpha() for token in tokens)
