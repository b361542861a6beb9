"""A row of text becomes a prompt: token ids that end where the text is to go on, and what may end the text."""

from __future__ import annotations

from dataclasses import dataclass, replace

from m6rec_core.config import DecodingConfig
from m6rec_core.decoding.trie import TokenTrie
from m6rec_core.errors import ConfigError, DataError, M6RecError
from m6rec_core.model import M6Rec
from m6rec_core.tokens.encode import RowEncoder, TokenRow
from m6rec_core.types import TextRow


@dataclass(frozen=True, slots=True)
class Prompt:
    """A row to continue, for the task instance `task`.

    `stops`: token ids that end the text and do not belong to it; V, one above the vocabulary, stands for [EOS].
    """

    task: str
    row: TokenRow
    markers: bool
    stops: tuple[int, ...]


def prompt_of(
    model: M6Rec, task: str, row: TextRow, config: DecodingConfig, trie: TokenTrie | None, name: str
) -> Prompt:
    """Encode `row` without its [EOS] within the task's `max_tokens`; what is written comes on top.

    Raises DataError when the row or the row with what is written is too long, ConfigError when the allowed texts need a
    stop that the tokenizer does not have, M6RecError when the row holds its answer.
    """
    if any(segment.scored for segment in row.segments):
        raise M6RecError(f"{name} of task {task!r} has a scored segment: give generate the row without its answer")
    tokenizer = model.backbone.tokenizer
    encoder = RowEncoder(tokenizer, model.tuning(task).prompt_count, model.settings(task).max_tokens + row.markers)
    encoded = encoder(row, name)
    if row.markers:
        ids, segments = encoded.ids[:-1], encoded.segments[:-1]
        encoded = replace(encoded, ids=ids, segments=segments, readout=len(ids) - 1)
    length, new = len(encoded.ids), trie.depth if trie else config.max_new_tokens
    positions = model.backbone.positions
    if positions is not None and length + new > positions:
        raise DataError(
            f"{name}: {length} tokens and {new} new ones exceed the {positions} positions of the "
            "backbone; lower settings.max_tokens or max_new_tokens"
        )
    stops = _stops(model, row, config)
    if trie is not None and trie.nested and not stops:
        raise ConfigError(
            "an allowed text goes on where another one ends, and the tokenizer has no end token: set decoding.stop"
        )
    return Prompt(task, encoded, row.markers, stops)


def _stops(model: M6Rec, row: TextRow, config: DecodingConfig) -> tuple[int, ...]:
    tokenizer = model.backbone.tokenizer
    found = [tokenizer.vocabulary] if row.markers else []
    if not row.markers and tokenizer.end is not None:
        found.append(tokenizer.end)
    for text in config.stop:
        ids = tokenizer.encode(text)
        if len(ids) == 1:
            found.extend(ids)
    return tuple(found)
