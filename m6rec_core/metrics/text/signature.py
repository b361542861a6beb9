"""A reported number, and the exact variant it is: never one without the other."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import version

from m6rec_core.metrics.bootstrap import Interval
from m6rec_core.metrics.text.ngrams import SACREBLEU_TOKENIZERS


@dataclass(frozen=True, slots=True)
class TextScore:
    """A text metric on `rows` rows: its value (nan if not defined), its full signature, and its 95 % interval.

    `interval` is None where none was asked for, and holds nan where there are too few rows for one.
    """

    value: float
    signature: str
    rows: int
    interval: Interval | None = None


def signature(variant: str, tokenizer: str | None, rows: int) -> str:
    """Return e.g. "bleu-4|corpus|smooth:none|scale:100|PETER|tok:blanks|rows:1000".

    `tokenizer` None leaves the part out (the metric looks at no tokens). sacrebleu's tokenisations carry its version.
    """
    parts = [variant]
    if tokenizer is not None:
        own = tokenizer in SACREBLEU_TOKENIZERS or variant.startswith("sacrebleu")
        parts.append(f"tok:{tokenizer}" + (f"|sacrebleu:{version('sacrebleu')}" if own else ""))
    return "|".join([*parts, f"rows:{rows}"])
