"""Shipped for plugin authors: a conformance kit, a tiny backbone and tokenizer, and runs on them.

`TaskConformance` needs pytest, so it is imported when it is asked for; the rest works without.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from m6rec_core.testing.building import build_tuned, encode_samples, one_batch
from m6rec_core.testing.tiny import tiny_backbone, tiny_tokenizer
from m6rec_core.testing.trial import Trial, call, tiny_trial

if TYPE_CHECKING:
    from m6rec_core.testing.conformance import TaskConformance

__all__ = [
    "TaskConformance", "Trial", "build_tuned", "call", "encode_samples", "one_batch", "tiny_backbone",
    "tiny_tokenizer", "tiny_trial",
]  # fmt: skip


def __getattr__(name: str) -> object:
    """Import `TaskConformance` on first use."""
    if name == "TaskConformance":
        from m6rec_core.testing.conformance import TaskConformance

        return TaskConformance
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
