"""The n best of the texts that were written for a row: no doubles, nothing that is not wanted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from m6rec_core.config import DecodingConfig
from m6rec_core.metrics.text.novelty import normalised
from m6rec_core.text.template import clean
from m6rec_core.types import Written

Keep = Callable[[str], bool]
"""Whether a text may be shown."""


def best_texts(written: Sequence[Written], count: int, keep: Keep | None = None, ranked: bool = True) -> list[Written]:
    """Return up to `count` of the texts, best first: on one line, none empty, none twice, all of them kept by `keep`.

    Two texts are the same if `m6rec_core.metrics.text.novelty.normalised` makes them equal: case, punctuation and
    blanks do not make a text new. `ranked`: they come best first; otherwise the mean log-likelihood per token ranks.
    """
    order = list(written) if ranked else sorted(written, key=_mean, reverse=True)
    found: dict[str, Written] = {}
    for one in order:
        text = clean(one.text)
        key = normalised(text)
        if text and key not in found and (keep is None or keep(text)):
            found[key] = replace(one, text=text)
        if len(found) == count:
            break
    return list(found.values())


def for_best(decoding: DecodingConfig, count: int, filtered: bool = False) -> DecodingConfig:
    """Return settings that write enough texts for `count` to be left, at least 2 `count` where some may be left out.

    Greedy decoding becomes beam search. One text that nothing filters needs no more than one, and is left as it is.
    """
    if count == 1 and not filtered:
        return decoding
    texts = max(decoding.texts, 2 * count)
    if decoding.method == "sample":
        return decoding.model_copy(update={"texts": texts})
    return decoding.model_copy(update={"method": "beam", "texts": texts, "beams": max(decoding.beams, texts)})


def _mean(one: Written) -> float:
    return one.log_likelihood / max(one.tokens, 1)
