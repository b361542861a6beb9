"""Text to token ids, one segment at a time, with no way for text to become a special token or marker."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from m6rec_core.tokens.markers import SUMMARY, Marker

REMEMBERED = 1 << 17
"""Texts whose tokens are remembered, the latest asked for: about 50 MB of titles, however many texts come by."""


class TextTokenizer:
    """A fast tokenizer of transformers, restricted to plain text; segments that were asked for lately are remembered.

    `vocabulary` is V, the size of the backbone's embedding table (it may exceed the tokenizer's own vocabulary).
    """

    def __init__(self, tokenizer: Any, vocabulary: int) -> None:
        """Wrap `tokenizer`; `vocabulary` is V."""
        self._tokenizer = tokenizer
        self.vocabulary = vocabulary
        self._remembered = lru_cache(REMEMBERED)(self._tokenised)

    def encode(self, text: str) -> tuple[int, ...]:
        """Token ids of a segment, each in [0, V). Special tokens written in the text are split into plain ones."""
        return self._remembered(text)

    def _tokenised(self, text: str) -> tuple[int, ...]:
        # Half a surrogate pair, which JSON can smuggle in, is no character and cannot be tokenised: it becomes "?".
        whole = text.encode("utf-8", "replace").decode("utf-8")
        encoded = self._tokenizer(whole, add_special_tokens=False, split_special_tokens=True)["input_ids"]
        return tuple(int(i) for i in encoded)

    def decode(self, ids: Sequence[int]) -> str:
        """Text of token ids; markers print as the paper writes them, others as "<prompt 0>" and "<summary 0>"."""
        parts: list[str] = []
        run: list[int] = []
        for token in (*ids, None):
            if token is not None and 0 <= token < self.vocabulary:
                run.append(token)
                continue
            if run:
                parts.append(str(self._tokenizer.decode(run)))
                run = []
            if token is not None:
                parts.append(self._special(token))
        return "".join(parts)

    def _special(self, token: int) -> str:
        """A token that is no text."""
        above = token - self.vocabulary
        if token < 0:
            return f"<prompt {-1 - token}>"
        return f"<summary {above - SUMMARY}>" if above >= SUMMARY else Marker(above).label

    def encode_all(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of many segments at once, as `encode` gives them; nothing is remembered."""
        if not texts:
            return []
        whole = [text.encode("utf-8", "replace").decode("utf-8") for text in texts]
        encoded = self._tokenizer(whole, add_special_tokens=False, split_special_tokens=True)["input_ids"]
        return [[int(i) for i in ids] for ids in encoded]

    @property
    def end(self) -> int | None:
        """The tokenizer's own end token, which markerless backbones write after a text; None where it has none."""
        found = self._tokenizer.eos_token_id
        return None if found is None else int(found)

    def unwritable(self) -> list[int]:
        """Ids below V that stand for no text: special tokens, and rows of the embedding table beyond the tokenizer."""
        return sorted({*self.special_tokens().values(), *range(len(self._tokenizer), self.vocabulary)})

    def piece(self, token: int) -> str:
        """The printable form of one token, marker or (negative) soft prompt slot."""
        return self.decode([token])

    def special_tokens(self) -> dict[str, int]:
        """The tokenizer's own special tokens, text to id; no text is ever encoded to one of these ids."""
        added = self._tokenizer.added_tokens_decoder
        return {token.content: int(number) for number, token in added.items() if token.special}

    def marker(self, marker: Marker) -> int:
        """Token id of a marker: V + offset."""
        return self.vocabulary + int(marker)
