"""The five markers of the paper (3.2, Fig. 1), and the ids of segment summaries above them.

Their ids lie above the tokenizer's vocabulary, so no text can produce them.
"""

from __future__ import annotations

from enum import IntEnum


class Marker(IntEnum):
    """Offset of each marker above the backbone's vocabulary size V: a marker's token id is V + offset."""

    SOURCE_START = 0
    SOURCE_END = 1
    TARGET_START = 2
    TARGET_END = 3
    MASK = 4

    @property
    def label(self) -> str:
        """The marker as the paper prints it."""
        return ("[BOS']", "[EOS']", "[BOS]", "[EOS]", "[MASK]")[self]


MARKER_COUNT = len(Marker)
SUMMARY = MARKER_COUNT
"""Summary j of a segment has the token id V + SUMMARY + j (`tuning.segment_summaries`)."""
