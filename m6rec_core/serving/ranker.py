"""Rank the candidates of a request in milliseconds: what is behind serving (paper 3.3, 4.3, Fig. 3).

Segments come from the cache, the user's part of the upper layers is computed once for all candidates (they are branches
of one prefix tree), and the last layer's feed-forward network runs at the read-out positions only.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

from m6rec_core.assemble import encode
from m6rec_core.config import CacheConfig
from m6rec_core.errors import ConfigError, DataError
from m6rec_core.late.cache import SegmentCache
from m6rec_core.late.encoder import SegmentText
from m6rec_core.late.opening import open_cache
from m6rec_core.serving.catalogue import Candidate, read_catalogue
from m6rec_core.serving.opening import Opened, Say
from m6rec_core.serving.scoring import Tick, in_order, predict_packs
from m6rec_core.tokens.batching import plan_packs
from m6rec_core.types import BehaviourSample, Event, Prediction, Sample

PACK_TOKENS = 1024
"""Tokens of a sequence: more let more candidates share their user's part, fewer keep attention small."""


@dataclass(frozen=True, slots=True)
class Ranked:
    """A candidate with its score; `prediction` is what the task's `decode` returned."""

    item_id: str
    score: float
    prediction: Prediction


class Ranker:
    """A task pack that ranks. Safe to use from several threads; without late interaction it ranks by the full model."""

    def __init__(
        self,
        opened: Opened,
        cache: CacheConfig | None = None,
        say: Say = lambda _line: None,
        pack_tokens: int = PACK_TOKENS,
    ) -> None:
        """Rank with `opened`; `cache` chooses the tiers, None keeps segments in memory only.

        Raises ConfigError for a task whose samples have no candidate.
        """
        if not issubclass(opened.task.manifest.sample, BehaviourSample):
            raise ConfigError(f"task {opened.task.name} does not score candidates of a user; use m6rec predict")
        self._opened = opened
        self._pack_tokens = pack_tokens
        self._tuning = opened.assembled.tuned.tuning
        self._below = self._tuning.below(opened.backbone.spec.layers)
        self._encoding = Lock()
        self.cache: SegmentCache | None = None
        if self._below:
            self.cache = open_cache(cache or CacheConfig(), opened.backbone, say)
            opened.model.segments = self.cache
        opened.model.eval()

    def rank(self, user: BehaviourSample, candidates: Sequence[Candidate]) -> list[Ranked]:
        """Return the candidates of one user, best first; equal scores keep their order. See `rank_many`."""
        return self.rank_many([(user, candidates)])[0]

    def rank_many(self, requests: Sequence[tuple[BehaviourSample, Sequence[Candidate]]]) -> list[list[Ranked]]:
        """Answer several requests in as few sequences as they fit into.

        Of each user's sample everything but `id` and `candidate` is used; a candidate's statistics are added to the
        user's. Raises DataError for text that cannot be encoded.
        """
        samples = [
            sample
            for number, (user, candidates) in enumerate(requests)
            for sample in _samples(number, user, candidates)
        ]
        answers = iter(self._answers(samples))
        field = self._opened.task.manifest.score_field
        ranked = []
        for _, candidates in requests:
            own = [
                Ranked(candidate.item.item_id, float(getattr(answer, field)), answer)
                for candidate, answer in zip(candidates, answers, strict=False)
            ]
            ranked.append(sorted(own, key=lambda r: -r.score))
        return ranked

    def pre_encode(self, samples: Sequence[Sample], tick: Tick = lambda _segments: None) -> int:
        """Bring the segments of samples into the cache; return how many distinct ones. 0 without late interaction."""
        if self.cache is None:
            return 0
        opened = self._opened
        with self._encoding:
            encoded = encode(opened.task.name, opened.assembled.tuned, samples, opened.backbone)
        packs = plan_packs(encoded.samples, self._pack_tokens, opened.backbone.causal)
        vocabulary = opened.backbone.spec.vocabulary
        pieces = (piece for pack in packs for tree in pack.trees for piece in tree.forest.pieces)
        segments = [SegmentText(p.ids, p.mutual) for p in pieces if p.recurs and 0 <= p.ids[0] < vocabulary]
        return self.cache.warm(self._tuning, self._below, segments, tick)

    def pre_encode_catalogue(self, items: Path, tick: Tick = lambda _segments: None) -> int:
        """Bring a catalogue into the cache, each item as a candidate and as a liked and a disliked event.

        `items`: parquet with item_id; its text columns are the item's fields, its number columns the statistics that
        the texts are written with. Raises DataError for a file that is none.
        """
        samples = [sample for one in read_catalogue(items) for sample in self._appearances(one)]
        return self.pre_encode(samples, tick)

    def warm_up(self, user: BehaviourSample, candidates: Sequence[Candidate]) -> None:
        """Answer one request and forget the answer: memory is claimed, prompts are encoded, kernels are compiled."""
        self.rank(user, candidates)

    def _appearances(self, one: Candidate) -> Iterable[Sample]:
        model = self._opened.task.manifest.sample
        for liked in (True, False):
            event = Event(item=one.item, kind="", timestamp=0.0, liked=liked, statistics=one.statistics)
            yield model.model_validate(
                {"id": one.item.item_id, "user_id": "", "history": (event,), "candidate": one.item, "timestamp": 1.0,
                 "statistics": one.statistics}
            )  # fmt: skip

    def _answers(self, samples: Sequence[Sample]) -> list[Prediction]:
        opened = self._opened
        with self._encoding:
            encoded = encode(opened.task.name, opened.assembled.tuned, samples, opened.backbone)
        packs = plan_packs(encoded.samples, self._pack_tokens, opened.backbone.causal)
        found = dict(predict_packs(opened.model, opened.task.name, packs, opened.device))
        return in_order(found, len(samples))


def _samples(number: int, user: BehaviourSample, candidates: Sequence[Candidate]) -> list[BehaviourSample]:
    if not candidates:
        raise DataError(f"request {number + 1} has no candidates; give at least one")
    return [
        user.model_copy(
            update={
                "id": f"{number}/{place}",
                "candidate": candidate.item,
                "statistics": {**user.statistics, **candidate.statistics},
            }
        )
        for place, candidate in enumerate(candidates)
    ]
