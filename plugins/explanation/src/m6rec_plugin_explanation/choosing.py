"""Reviews to samples: the sentence of each review that says most clearly what the user likes, split by time."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from m6rec_core.config import SplitRule
from m6rec_core.errors import DataError
from m6rec_core.logs.split import time_split
from m6rec_core.metrics.text.novelty import normalised
from m6rec_core.text.template import clean
from m6rec_core.types import Event, Item
from m6rec_plugin_explanation.mining.features import Mined, MiningRule, mentions, mine, opinion_distance
from m6rec_plugin_explanation.mining.sentences import continuing, has_letters, sentences_of, tokens_of
from m6rec_plugin_explanation.reviews import Review
from m6rec_plugin_explanation.sample import ExplanationSample
from m6rec_plugin_explanation.serialize import DETAILS

KIND = "rating"
"""Kind of the events of a history: each is an earlier review."""


@dataclass(frozen=True, slots=True)
class ReviewRule:
    """How reviews become samples. `liked`: lowest rating that is explained; a review without a rating is.

    `shortest`, `longest`: words of a sentence. `events`: newest earlier reviews in a history. `rows`: samples of each
    part at most, drawn by `seed`. `mined`: training sentences that features are mined from at most. `split`: the parts,
    by time.
    """

    liked: float = 4.0
    shortest: int = 4
    longest: int = 25
    events: int = 5
    rows: Mapping[str, int] = field(default_factory=lambda: {"train": 20_000, "valid": 2_000, "test": 2_000})
    mined: int = 40_000
    seed: int = 0
    split: SplitRule = field(default_factory=SplitRule)
    mining: MiningRule = field(default_factory=MiningRule)


@dataclass(frozen=True, slots=True)
class ChosenSamples:
    """The samples of each part, the features they were chosen by, and how many reviews were left out and why."""

    parts: Mapping[str, tuple[ExplanationSample, ...]]
    mined: Mined
    skipped: Counter[str]


def choose(reviews: Sequence[Review], rule: ReviewRule) -> ChosenSamples:
    """Make samples of n reviews: features are mined from the training part alone, no sentence is in two parts.

    Raises DataError when a part would be empty.
    """
    skipped: Counter[str] = Counter()
    ordered = _distinct(reviews, skipped)
    parts = time_split([review.timestamp for review in ordered], rule.split)
    draw = np.random.default_rng(rule.seed)
    order = {part: draw.permutation(rows) for part, rows in parts.items()}
    mined = mine(_training_sentences([ordered[int(i)] for i in order["train"]], rule.mined), rule.mining)
    if not mined.features:
        raise DataError(
            f"no feature is mentioned in at least {rule.mining.sentences} sentences of the {len(parts['train']):,} "
            "training reviews; give more reviews"
        )
    past = _Past(ordered, rule.events)
    chosen: dict[str, tuple[ExplanationSample, ...]] = {}
    taken: set[str] = set()
    for part, indices in order.items():
        found = _part(ordered, indices, mined, rule, taken, skipped, rule.rows[part])
        if not found:
            raise DataError(f"no {part} review has a sentence with a feature and an opinion; give more reviews")
        taken |= {normalised(sentence) for _, sentence, _ in found}
        chosen[part] = tuple(past.sample(index, sentence, feature) for index, sentence, feature in sorted(found))
    return ChosenSamples(chosen, mined, skipped)


def best_sentence(text: str, mined: Mined, rule: ReviewRule) -> tuple[str, str] | None:
    """Return the sentence of a review whose feature and opinion stand closest, and the feature; None where none has
    both. Of equally close ones the first."""
    best: tuple[int, str, str] | None = None
    for sentence in sentences_of(text):
        tokens = tokens_of(sentence)
        if not rule.shortest <= len(sentence.split()) <= rule.longest or not has_letters(tokens):
            continue
        for name, start, stop in mentions(tokens, mined.features):
            distance = opinion_distance(tokens, start, stop, mined.opinions, rule.mining.window)
            if distance is not None and (best is None or distance < best[0]):
                best = (distance, sentence, name)
    return None if best is None else (continuing(best[1]), best[2])


Found = tuple[int, str, str]
"""Index of a review, the chosen sentence, its feature."""


def _part(
    reviews: Sequence[Review],
    indices: Sequence[int] | np.ndarray[tuple[int, ...], np.dtype[np.int64]],
    mined: Mined,
    rule: ReviewRule,
    taken: set[str],
    skipped: Counter[str],
    rows: int,
) -> list[Found]:
    found: list[Found] = []
    for index in map(int, indices):
        if len(found) == rows:
            break
        review = reviews[index]
        if review.rating is not None and review.rating < rule.liked:
            skipped["not liked"] += 1
            continue
        best = best_sentence(review.text, mined, rule)
        if best is None:
            skipped["without a sentence that has a feature and an opinion"] += 1
        elif normalised(best[0]) in taken:
            skipped["with a sentence of an earlier part"] += 1
        else:
            found.append((index, *best))
    return found


def _distinct(reviews: Sequence[Review], skipped: Counter[str]) -> list[Review]:
    """The reviews by time, each once: some public files repeat rows."""
    found: dict[tuple[str, str, float, str], Review] = {}
    for one in reviews:
        found.setdefault((one.user_id, one.item_id, one.timestamp, one.text), one)
    if len(found) < len(reviews):
        skipped["given twice"] += len(reviews) - len(found)
    return sorted(found.values(), key=lambda one: one.timestamp)


def _training_sentences(reviews: Sequence[Review], limit: int) -> list[tuple[str, ...]]:
    def tokens() -> Iterator[tuple[str, ...]]:
        for review in reviews:
            yield from map(tokens_of, sentences_of(review.text))

    return [one for _, one in zip(range(limit), tokens(), strict=False)]


class _Past:
    """What each user reviewed strictly before a time."""

    def __init__(self, reviews: Sequence[Review], events: int) -> None:
        self._reviews = reviews
        self._events = events
        self._of: dict[str, list[int]] = {}
        for index, review in enumerate(reviews):
            self._of.setdefault(review.user_id, []).append(index)

    def sample(self, index: int, sentence: str, feature: str) -> ExplanationSample:
        """The sample of review `index`."""
        review = self._reviews[index]
        return ExplanationSample(
            id=review.id,
            user_id=review.user_id,
            user=review.user,
            history=self._history(review),
            item=Item(item_id=review.item_id, fields=review.item),
            feature=feature,
            timestamp=review.timestamp,
            rating=review.rating,
            explanation=sentence,
        )

    def _history(self, review: Review) -> tuple[Event, ...]:
        own = self._of[review.user_id]
        earlier = bisect_left(own, review.timestamp, key=lambda i: self._reviews[i].timestamp)
        return tuple(
            Event(item=short_item(one.item_id, one.item), kind=KIND, timestamp=one.timestamp)
            for one in (self._reviews[i] for i in own[max(0, earlier - self._events) : earlier])
        )


def short_item(item_id: str, fields: Mapping[str, str]) -> Item:
    """An item as a history has it: without details."""
    kept = {name: text for name, text in fields.items() if name not in DETAILS and clean(text)}
    return Item(item_id=item_id, fields=kept)
