"""Which token comes next: the likeliest, one drawn, or those of the best beams."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from m6rec_core.config import DecodingConfig
from m6rec_core.decoding.prompts import Prompt
from m6rec_core.decoding.rules import DEAD, Lane, Rules

Grown = tuple[int, int, Lane]
"""Parent lane, token, and the lane that these make."""


class Pick(Protocol):
    """Lets the lanes of the rows grow by one token."""

    def first(self, row: int) -> list[Lane]:
        """The B lanes with which a row begins."""
        ...

    def __call__(
        self, rows: Sequence[int], lanes: Sequence[Sequence[Lane]], scores: Tensor, log_p: Tensor
    ) -> list[list[Grown]]:
        """Return B grown lanes for each row; `scores`, `log_p` [R, B, V + 1]. Closed lanes stay as they are."""
        ...

    def best(self, row: int, lanes: Sequence[Lane]) -> list[Lane]:
        """The texts of a row that is done, best first."""
        ...


class Single:
    """Greedy decoding and sampling: lanes of a row do not see each other."""

    def __init__(self, rules: Rules, prompts: Sequence[Prompt]) -> None:
        """Seed a generator for every lane from the seed, the row's tokens and the lane's number alone."""
        self._rules, self._prompts = rules, prompts
        config = rules.config
        self._draws = (
            [[_generator(config.seed, p, b) for b in range(config.lanes)] for p in prompts]
            if config.method == "sample"
            else []
        )

    def first(self, row: int) -> list[Lane]:
        """All lanes begin empty."""
        del row
        return [Lane()] * self._rules.config.lanes

    def __call__(
        self, rows: Sequence[int], lanes: Sequence[Sequence[Lane]], scores: Tensor, log_p: Tensor
    ) -> list[list[Grown]]:
        """Grow every open lane by the likeliest token, or by one drawn."""
        if self._draws:
            uniform = scores.new_tensor([[d.random() for d in self._draws[row]] for row in rows], dtype=torch.float64)
            tokens = draw(scores, uniform, self._rules.config)
        else:
            tokens = scores.argmax(-1)
        gained = [torch.gather(t, -1, tokens[..., None])[..., 0].tolist() for t in (scores, log_p)]
        grown: list[list[Grown]] = []
        for r, (row, ids) in enumerate(zip(rows, tokens.tolist(), strict=True)):
            grown.append(
                [
                    (b, token, self._rules.extend(lane, token, gained[0][r][b], gained[1][r][b], self._prompts[row]))
                    if lane.open
                    else (b, 0, lane)
                    for b, (lane, token) in enumerate(zip(lanes[r], ids, strict=True))
                ]
            )
        return grown

    def best(self, row: int, lanes: Sequence[Lane]) -> list[Lane]:
        """The lanes, in the order drawn."""
        del row
        return list(lanes)


class Beams:
    """Beam search: the B best open lanes of a row go on, the B best closed ones are kept.

    A row is done when no open lane can still beat the worst closed one.
    """

    def __init__(self, rules: Rules, prompts: Sequence[Prompt]) -> None:
        """Begin with no closed lane."""
        self._rules, self._prompts = rules, prompts
        self._closed: list[list[Lane]] = [[] for _ in prompts]

    def first(self, row: int) -> list[Lane]:
        """One lane lives, or all would grow alike."""
        del row
        return [Lane(), *[DEAD] * (self._rules.config.beams - 1)]

    def __call__(
        self, rows: Sequence[int], lanes: Sequence[Sequence[Lane]], scores: Tensor, log_p: Tensor
    ) -> list[list[Grown]]:
        """Grow each row by its best (lane, token) pairs."""
        beams, width = self._rules.config.beams, scores.shape[-1]
        past = scores.new_tensor([[lane.score if lane.open else -math.inf for lane in row] for row in lanes])
        ends = max(len(self._prompts[row].stops) for row in rows)
        count = min(beams * (2 + ends), beams * width)
        values, places = (scores + past[..., None]).flatten(1).topk(count)
        own = [torch.gather(t.flatten(1), 1, places).tolist() for t in (scores, log_p)]
        grown = []
        for r, row in enumerate(rows):
            candidates = zip(values[r].tolist(), places[r].tolist(), own[0][r], own[1][r], strict=True)
            opened: list[Grown] = []
            for value, place, score, log in candidates:
                if value == -math.inf or len(opened) == beams:
                    break
                parent, token = divmod(place, width)
                lane = self._rules.extend(lanes[r][parent], token, score, log, self._prompts[row])
                if lane.open:
                    opened.append((parent, token, lane))
                else:
                    self._close(row, lane)
            if opened and self._decided(row, [lane for _, _, lane in opened]):
                opened = []
            grown.append(opened + [(0, 0, DEAD)] * (beams - len(opened)))
        return grown

    def best(self, row: int, lanes: Sequence[Lane]) -> list[Lane]:
        """The best closed lanes."""
        del lanes
        return self._closed[row][: self._rules.config.texts]

    def _close(self, row: int, lane: Lane) -> None:
        kept = sorted([*self._closed[row], lane], key=self._rank)
        self._closed[row] = kept[: self._rules.config.beams]

    def _rank(self, lane: Lane, tokens: int | None = None) -> float:
        """Smaller is better."""
        length = max(lane.tokens if tokens is None else tokens, 1)
        return float(-lane.score / length**self._rules.config.length_penalty)

    def _decided(self, row: int, opened: Sequence[Lane]) -> bool:
        closed = self._closed[row]
        if len(closed) < self._rules.config.beams:
            return False
        hope = min(self._rank(lane, self._rules.limit) for lane in opened)  # if all that follows were certain
        return hope >= self._rank(closed[-1])


def draw(scores: Tensor, uniform: Tensor, config: DecodingConfig) -> Tensor:
    """Token ids [..] for uniform numbers [..] in [0, 1), by the inverse of the cumulative distribution over falling p.

    `scores` [.., W] are divided by the temperature; the `top_k` best are kept, then the fewest that reach `top_p`.
    """
    scores = scores.double() / config.temperature
    if 0 < config.top_k < scores.shape[-1]:
        values, ids = scores.topk(config.top_k)
    else:
        values, ids = scores.sort(dim=-1, descending=True, stable=True)
    p = torch.softmax(values, -1)
    p = p * (p.cumsum(-1) - p < config.top_p)
    total = p.cumsum(-1)
    place = torch.searchsorted(total, (uniform * total[..., -1])[..., None], right=True)[..., 0]
    place = torch.minimum(place, (p > 0).sum(-1) - 1)  # rounding may leave the last one just missed
    return torch.gather(ids, -1, place[..., None])[..., 0]


def _generator(seed: int, prompt: Prompt, lane: int) -> np.random.Generator:
    digest = hashlib.sha256(f"{seed} {lane} ".encode() + np.asarray(prompt.row.ids, "<i8").tobytes()).digest()
    return np.random.default_rng(int.from_bytes(digest, "little"))
