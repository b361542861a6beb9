"""What commands print of texts that were written: rows for machines, lines for people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from m6rec_core.generation.answers import TextPrediction


def scored_texts(answer: TextPrediction, name: str = "text") -> list[dict[str, Any]]:
    """Return the texts of a sample, best first, each with log p in nats, as JSON objects; `name` is the text's."""
    pairs = zip(answer.texts, answer.log_likelihoods, strict=True)
    return [{name: text, "log_likelihood": likelihood} for text, likelihood in pairs]


def told_texts(answers: Sequence[TextPrediction], nothing: str) -> list[str]:
    """Return the texts as lines, under the sample's id where there are several samples; `nothing` where none was
    written.
    """
    lines: list[str] = []
    for answer in answers:
        if len(answers) > 1:
            lines += ["", answer.id] if lines else [answer.id]
        lines += list(answer.texts) or [nothing]
    return lines
