"""What may come next: log p of the next token, and the scores that limits, penalties and constraints make of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from m6rec_core.config import DecodingConfig
from m6rec_core.decoding.prompts import Prompt
from m6rec_core.decoding.trie import ROOT, TokenTrie
from m6rec_core.model import M6Rec
from m6rec_core.types import Written


@dataclass(frozen=True, slots=True)
class Lane:
    """One text in the making.

    `score`: what ranks it among beams; `tokens` counts the stop too; `open`: it goes on; `finished`: it came to a stop.
    """

    ids: tuple[int, ...] = ()
    score: float = 0.0
    log_likelihood: float = 0.0
    tokens: int = 0
    node: int = ROOT
    open: bool = True
    finished: bool = False


DEAD = Lane(score=-math.inf, open=False)
"""Holds the place of a lane that no text uses."""


@dataclass(frozen=True, slots=True)
class Rules:
    """The limits of one call. With `trie` the length limits, stop strings and the n-gram rule do not apply."""

    model: M6Rec
    config: DecodingConfig
    trie: TokenTrie | None

    @property
    def limit(self) -> int:
        """The most tokens of a text."""
        return self.config.max_new_tokens if self.trie is None else self.trie.depth + 1

    def log_probabilities(self, hidden: Tensor, prompts: Sequence[Prompt]) -> Tensor:
        """Log p [R, B, V + 1] of the next token from final-norm states [R, B, D], float32 at least.

        The last column is [EOS], for rows with markers (`M6Rec.stop_logits`); -inf for others, whose log p is then that
        of the backbone's vocabulary as `m6rec_core.heads.likelihood` has it.
        """
        text = self.model.backbone.vocabulary(hidden)
        text = text.to(torch.promote_types(text.dtype, torch.float32))
        stop = text.new_full((*text.shape[:-1], 1), -math.inf)
        for task in dict.fromkeys(p.task for p in prompts if p.markers):
            rows = [i for i, p in enumerate(prompts) if p.task == task and p.markers]
            stop[rows, :, 0] = self.model.stop_logits(task, hidden[rows]).to(text.dtype)
        return torch.log_softmax(torch.cat([text, stop], dim=-1), dim=-1)

    def scores(self, log_p: Tensor, prompts: Sequence[Prompt], lanes: Sequence[Sequence[Lane]]) -> Tensor:
        """Scores [R, B, V + 1]: log p with penalties, -inf for what may not follow. Special tokens never may."""
        scores = log_p.clone()
        if self.trie is None:
            scores[..., self.model.backbone.tokenizer.unwritable()] = -math.inf
        for r, (prompt, row) in enumerate(zip(prompts, lanes, strict=True)):
            stops = list(prompt.stops)
            if self.trie is None:
                scores[r][:, stops] = log_p[r][:, stops]
            for b, lane in enumerate(row):
                if lane.open:
                    self._adjust(scores[r, b], lane, stops)
        return scores

    def _adjust(self, scores: Tensor, lane: Lane, stops: list[int]) -> None:
        if self.config.repetition_penalty > 1.0 and lane.ids:
            scores[list(set(lane.ids))] *= self.config.repetition_penalty
        if self.trie is not None:
            following = torch.from_numpy(self.trie.children(lane.node)).to(scores.device, torch.int64)
            if self.trie.ends(lane.node):
                following = torch.cat([following, following.new_tensor(stops)])
            kept = scores[following]
            scores.fill_(-math.inf)
            scores[following] = kept
            return
        scores[repeating(lane.ids, self.config.no_repeat_ngram)] = -math.inf
        if len(lane.ids) < self.config.min_new_tokens:
            scores[stops] = -math.inf

    def extend(self, lane: Lane, token: int, score: float, log_p: float, prompt: Prompt) -> Lane:
        """The lane with one more token, closed where the text ends."""
        score, log_p, tokens = lane.score + score, lane.log_likelihood + log_p, lane.tokens + 1
        if self.trie is not None:
            try:
                node = self.trie.child(lane.node, token)
            except KeyError:  # a stop, which is allowed here
                return Lane(lane.ids, score, log_p, tokens, lane.node, open=False, finished=True)
            leaf = self.trie.leaf(node)
            return Lane((*lane.ids, token), score, log_p, tokens, node, open=not leaf, finished=leaf)
        if token in prompt.stops:
            return Lane(lane.ids, score, log_p, tokens, open=False, finished=True)
        ids = (*lane.ids, token)
        stopped = self.stop_place(ids) is not None
        return Lane(ids, score, log_p, tokens, open=not stopped and tokens < self.limit, finished=stopped)

    def stop_place(self, ids: Sequence[int], text: str | None = None) -> int | None:
        """Where the first stop string begins in the text of `ids`, behind the least number of tokens; None: nowhere."""
        if not self.config.stop or self.trie is not None:
            return None
        decode = self.model.backbone.tokenizer.decode
        text = decode(ids) if text is None else text
        least = len(decode(ids[: self.config.min_new_tokens])) if self.config.min_new_tokens else 0
        places = [place for stop in self.config.stop if (place := text.find(stop, least)) >= 0]
        return min(places, default=None)

    def text(self, lane: Lane) -> str:
        """The text of a lane, without its stop."""
        if self.trie is not None and self.trie.ends(lane.node):
            return self.trie.texts[int(self.trie.text[lane.node])]
        text = self.model.backbone.tokenizer.decode(lane.ids)
        return text[: self.stop_place(lane.ids, text)]

    def written(self, lane: Lane) -> Written:
        """The finished lane as the caller gets it."""
        return Written(self.text(lane), lane.tokens, lane.log_likelihood, lane.finished)


def repeating(ids: Sequence[int], size: int) -> list[int]:
    """Tokens that would complete a run of `size` tokens that `ids` already has; none for size 0."""
    if size == 0 or len(ids) < size:
        return []
    ids = list(ids)
    tail = ids[len(ids) - size + 1 :]
    return [ids[i + size - 1] for i in range(len(ids) - size + 1) if ids[i : i + size - 1] == tail]
