"""What reviews speak about: features, found by counting, without a tagger (after Hu and Liu 2004, KDD).

Hu and Liu take frequent noun phrases of tagged reviews, prune them, and tie opinions to the features beside them. Here
nouns are found by where they stand: a noun head stands behind a determiner or an opinion word, perhaps with a modifier
between ("the front panel"), and before a word that ends a noun phrase or before punctuation. The rest is theirs:
minimum support, phrases of words that really belong together (compactness), no word that hardly stands alone outside
longer features (p-support), and features must have opinions beside them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from m6rec_plugin_explanation.mining.words import (
    ADVERBS,
    AUXILIARIES,
    CLOSED,
    DETERMINERS,
    INTENSIFIERS,
    OPINIONS,
    PREPOSITIONS,
    PRONOUNS,
    VAGUE,
)

Tokens = Sequence[str]


@dataclass(frozen=True, slots=True)
class MiningRule:
    """Thresholds, chosen on seven of the fourteen annotated products (docs/experiments/explanation.md).

    `sentences`, `share`: a feature stands in at least so many sentences, and in this share of all. `noun`: share of a
    word's occurrences that must stand where nouns do. `together`: share of the rarer word's occurrences that a phrase
    of two must hold. `window`: how many tokens away an opinion may stand. `opinions`: share of a feature's sentences
    that must have one. `alone`: sentences in which a word must stand outside of longer features.
    """

    sentences: int = 5
    share: float = 0.001
    noun: float = 0.2
    together: float = 0.15
    window: int = 4
    opinions: float = 0.15
    alone: int = 3


@dataclass(frozen=True, slots=True)
class Mined:
    """What was found: the features with the number of their sentences, most frequent first, and the opinion words."""

    features: dict[str, int]
    opinions: frozenset[str]


def mine(sentences: Sequence[Tokens], rule: MiningRule | None = None) -> Mined:
    """Return the features of n sentences (`tokens_of` of each) and the opinion words. O(tokens)."""
    rule = rule or MiningRule()
    needed = max(rule.sentences, round(rule.share * len(sentences)))
    opinions = opinion_words(sentences)
    nouns = noun_heads(sentences, opinions, rule.noun)
    counts: Counter[str] = Counter()
    for tokens in sentences:
        counts.update(set(_candidates(tokens, nouns, opinions)))
    words = Counter(word for tokens in sentences for word in set(tokens))
    frequent = {
        name for name, count in counts.items() if count >= needed and _compact(name, count, words, rule.together)
    }
    alone, judged = _support(sentences, frequent, opinions, rule.window)
    kept = {
        name: counts[name]
        for name in frequent
        if (" " in name or alone[name] >= rule.alone) and judged[name] >= rule.opinions * counts[name]
    }
    return Mined(dict(sorted(kept.items(), key=lambda one: (-one[1], one[0]))), opinions)


def opinion_words(sentences: Sequence[Tokens]) -> frozenset[str]:
    """Return the known opinion words and those that often stand behind "very", "really", "too", ...: adjectives."""
    seen = Counter(word for tokens in sentences for word in tokens)
    behind = Counter(
        after
        for tokens in sentences
        for word, after in pairwise(tokens)
        if word in INTENSIFIERS and after.isalpha() and after not in CLOSED and after not in VAGUE
    )
    return OPINIONS | {word for word, count in behind.items() if count >= 3 and count >= 0.1 * seen[word]}


def noun_heads(sentences: Sequence[Tokens], opinions: frozenset[str], share: float) -> frozenset[str]:
    """Return the words that stand where heads of noun phrases do in at least `share` of their places, and more often
    there than where verbs do."""
    seen: Counter[str] = Counter()
    as_noun: Counter[str] = Counter()
    as_verb: Counter[str] = Counter()
    for tokens in sentences:
        for place, word in enumerate(tokens):
            if not _content(word, opinions):
                continue
            seen[word] += 1
            before = tokens[place - 1] if place else "."
            if _opens(tokens, place, opinions) and _closes(tokens, place):
                as_noun[word] += 1
            elif before in PRONOUNS or before in AUXILIARIES or before in ADVERBS or before == "to":
                as_verb[word] += 1
    return frozenset(
        word for word, count in as_noun.items() if count >= 2 and count >= share * seen[word] and count > as_verb[word]
    )


def mentions(tokens: Tokens, features: Iterable[str] | dict[str, int]) -> list[tuple[str, int, int]]:
    """Return the features that a sentence holds as (feature, first token, token behind), longer ones first of those
    that overlap, in the order of the sentence."""
    known = features if isinstance(features, (dict, set, frozenset)) else set(features)
    found: list[tuple[str, int, int]] = []
    place = 0
    while place < len(tokens):
        for length in (3, 2, 1):
            name = " ".join(tokens[place : place + length])
            if place + length <= len(tokens) and name in known:
                found.append((name, place, place + length))
                place += length - 1
                break
        place += 1
    return found


def opinion_distance(tokens: Tokens, start: int, stop: int, opinions: frozenset[str], window: int) -> int | None:
    """Return how far the nearest opinion word stands from tokens [start, stop), 1 for side by side; None beyond
    `window`."""
    for distance in range(1, window + 1):
        for place in (start - distance, stop - 1 + distance):
            if 0 <= place < len(tokens) and tokens[place] in opinions:
                return distance
    return None


def _content(word: str, opinions: frozenset[str]) -> bool:
    return len(word) > 2 and word[0].isalpha() and word not in CLOSED and word not in VAGUE and word not in opinions


def _opens(tokens: Tokens, place: int, opinions: frozenset[str]) -> bool:
    """Whether a noun phrase has begun: a determiner or opinion word before, perhaps with one word between."""
    if place == 0:
        return False
    before = tokens[place - 1]
    if before in DETERMINERS or before in opinions:
        return True
    further = tokens[place - 2] if place > 1 else "."
    inside = before[0].isalpha() and before not in CLOSED
    return inside and (further in DETERMINERS or further in PREPOSITIONS or further in opinions)


def _closes(tokens: Tokens, place: int) -> bool:
    """Whether the noun phrase ends here: a word of a closed class, punctuation or nothing comes next."""
    return place + 1 >= len(tokens) or tokens[place + 1] in CLOSED or not tokens[place + 1][0].isalnum()


def _candidates(tokens: Tokens, nouns: frozenset[str], opinions: frozenset[str]) -> Iterable[str]:
    """Noun heads, and phrases of two words that end in one."""
    for place, word in enumerate(tokens):
        if word not in nouns:
            continue
        yield word
        if place and _content(tokens[place - 1], opinions) and _closes(tokens, place):
            yield f"{tokens[place - 1]} {word}"


def _compact(name: str, count: int, words: Counter[str], share: float) -> bool:
    first, _, second = name.partition(" ")
    return not second or count >= share * min(words[first], words[second])


def _support(
    sentences: Sequence[Tokens], features: set[str], opinions: frozenset[str], window: int
) -> tuple[Counter[str], Counter[str]]:
    """In how many sentences each feature stands outside of longer ones, and in how many beside an opinion."""
    alone: Counter[str] = Counter()
    judged: Counter[str] = Counter()
    for tokens in sentences:
        found = mentions(tokens, features)
        alone.update({name for name, _, _ in found})
        judged.update(
            {
                part
                for name, start, stop in found
                if opinion_distance(tokens, start, stop, opinions, window) is not None
                for part in {name, *name.split()}
                if part in features
            }
        )
    return alone, judged
