"""Continue rows of text: rows of any tasks in one batch, texts as a whole or piece by piece."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch

from m6rec_core.config import DecodingConfig
from m6rec_core.decoding.picking import Beams, Pick, Single
from m6rec_core.decoding.prompts import Prompt, prompt_of
from m6rec_core.decoding.rules import Lane, Rules
from m6rec_core.decoding.states import CachedStates, TextStates
from m6rec_core.decoding.trie import TokenTrie, build_trie
from m6rec_core.errors import ConfigError
from m6rec_core.model import M6Rec
from m6rec_core.types import Generate, TextRow, Written

MakeStates = Callable[[M6Rec, Sequence[Prompt], int, int], TextStates]
LANES_AT_ONCE = 128
"""How many texts are written side by side; more rows take turns."""
_HALF_CHARACTER = "\N{REPLACEMENT CHARACTER}"


def writer(model: M6Rec, name: str) -> Generate:
    """What `decode` of the task instance `name` is given; the `generation` of `M6Rec`."""
    return Writer(model, name)


class Writer:
    """`Generate` for one task instance."""

    def __init__(self, model: M6Rec, name: str) -> None:
        """Write with the tuned parts of the instance `name`."""
        self._model, self._name = model, name
        self._last: tuple[Sequence[str], TokenTrie] | None = None

    def __call__(self, rows: Sequence[TextRow], max_new_tokens: int) -> Sequence[str]:
        """Continue each row greedily."""
        return [texts[0].text for texts in self.write(rows, DecodingConfig(max_new_tokens=max_new_tokens))]

    def write(
        self, rows: Sequence[TextRow], config: DecodingConfig, allowed: Sequence[str] | None = None
    ) -> Sequence[Sequence[Written]]:
        """Write the texts of each row."""
        return write_rows(self._model, [(self._name, row) for row in rows], config, self._trie(allowed))

    def stream(self, row: TextRow, config: DecodingConfig, allowed: Sequence[str] | None = None) -> Iterator[str]:
        """Yield the text of a row piece by piece."""
        return stream_row(self._model, self._name, row, config, self._trie(allowed))

    def _trie(self, allowed: Sequence[str] | None) -> TokenTrie | None:
        if allowed is None:
            return None
        if self._last is None or (self._last[0] is not allowed and self._last[0] != allowed):
            self._last = (allowed, allowed_texts(self._model, allowed))
        return self._last[1]


def allowed_texts(model: M6Rec, texts: Sequence[str]) -> TokenTrie:
    """The trie of a set of texts under the backbone's tokenizer. Raises DataError for an empty set or text."""
    return build_trie(texts, model.backbone.tokenizer.encode_all(texts))


def write_rows(
    model: M6Rec,
    rows: Sequence[tuple[str, TextRow]],
    config: DecodingConfig,
    trie: TokenTrie | None = None,
    make_states: MakeStates = CachedStates,
) -> list[list[Written]]:
    """Write the texts of rows, each given with its task instance; per row as `Generate.write` says.

    `make_states`: where hidden states come from. Raises DataError for a row that is too long (`prompt_of`).
    """
    rules = Rules(model, config, trie)
    prompts = [prompt_of(model, task, row, config, trie, f"row {i}") for i, (task, row) in enumerate(rows, start=1)]
    texts: list[list[Written]] = []
    at_once = max(1, LANES_AT_ONCE // config.lanes)
    for start in range(0, len(prompts), at_once):
        growth = Growth(rules, prompts[start : start + at_once], make_states)
        for _ in growth:
            pass
        texts.extend([rules.written(lane) for lane in lanes] for lanes in growth.best())
    return texts


def stream_row(
    model: M6Rec, name: str, row: TextRow, config: DecodingConfig, trie: TokenTrie | None = None
) -> Iterator[str]:
    """Yield the text of a row in pieces that together are the text of `write_rows`.

    Bytes of an unfinished character and what may become a stop string are held back. Raises ConfigError for beam search
    and for several texts.
    """
    if config.method == "beam" or config.texts > 1:
        raise ConfigError("only one text can be streamed: set decoding.method to greedy or sample, decoding.texts to 1")
    rules = Rules(model, config, trie)
    prompt = prompt_of(model, name, row, config, trie, "row")
    return _pieces(Growth(rules, [prompt], CachedStates), rules)


def _pieces(growth: Growth, rules: Rules) -> Iterator[str]:
    said = ""
    for _ in growth:
        [lane] = growth.lanes[0]
        if not lane.open:
            break
        text = rules.model.backbone.tokenizer.decode(lane.ids).rstrip(_HALF_CHARACTER)
        text = text[: len(text) - _stop_begun(text, rules)]
        if text.startswith(said) and len(text) > len(said):
            yield text[len(said) :]
            said = text
    whole = rules.text(growth.lanes[0][0])
    if len(whole) > len(said):
        yield whole[len(said) :]


def _stop_begun(text: str, rules: Rules) -> int:
    """How many characters at the end may be the beginning of a stop string."""
    if rules.trie is not None:
        return 0
    starts = {stop[:length] for stop in rules.config.stop for length in range(1, len(stop))}
    return max((len(start) for start in starts if text.endswith(start)), default=0)


class Growth:
    """The texts of some prompts while they grow: each iteration adds a token to every open lane."""

    def __init__(self, rules: Rules, prompts: Sequence[Prompt], make_states: MakeStates) -> None:
        """Begin all lanes of all prompts."""
        self._rules, self._prompts = rules, list(prompts)
        lanes = rules.config.lanes
        self._states = make_states(rules.model, self._prompts, lanes, rules.limit)
        self._pick: Pick = (Beams if rules.config.method == "beam" else Single)(rules, self._prompts)
        self.lanes = [self._pick.first(row) for row in range(len(prompts))]

    def best(self) -> list[list[Lane]]:
        """The texts of each prompt, best first."""
        return [self._pick.best(row, lanes) for row, lanes in enumerate(self.lanes)]

    def __iter__(self) -> Iterator[None]:
        """Add tokens until no lane is open."""
        held = list(range(len(self._prompts)))
        start = self._states.start()
        device = start.device
        hidden = start[:, None].expand(-1, self._rules.config.lanes, -1)
        while True:
            with torch.no_grad():
                prompts, lanes = [self._prompts[row] for row in held], [self.lanes[row] for row in held]
                log_p = self._rules.log_probabilities(hidden, prompts)
                grown = self._pick(held, lanes, self._rules.scores(log_p, prompts, lanes), log_p)
            for row, found in zip(held, grown, strict=True):
                self.lanes[row] = [lane for _, _, lane in found]
            yield
            going = [k for k, row in enumerate(held) if any(lane.open for lane in self.lanes[row])]
            if not going:
                return
            if 2 * len(going) <= len(held):  # a copy of what is left pays off when half is gone
                self._states.keep(torch.tensor(going, device=device))
                held, grown = [held[k] for k in going], [grown[k] for k in going]
            parents = torch.tensor([[parent for parent, _, _ in row] for row in grown], device=device)
            # A closed lane only holds its place; its last token may be [EOS], which the embedding table does not have.
            ids = torch.tensor([[token if lane.open else 0 for _, token, lane in row] for row in grown], device=device)
            hidden = self._states.advance(parents, ids)
