"""How mined features agree with those that people annotated (Hu and Liu 2004; Ding, Liu and Yu 2008)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from m6rec_core.errors import DataError
from m6rec_core.logs.source_files import read_objects
from m6rec_plugin_explanation.mining.features import MiningRule, mentions, mine, opinion_distance
from m6rec_plugin_explanation.mining.sentences import tokens_of


@dataclass(frozen=True, slots=True)
class Annotated:
    """A sentence of a product's reviews and the features that people found in it."""

    product: str
    sentence: str
    features: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Agreement:
    """Of one product. `precision`, `recall`: of the set of features; annotated ones that stand in the text as words at
    least `least` times count. `sentence_precision`: share of the mined (sentence, feature) mentions beside an opinion
    that are annotated there; `sentence_recall`: share of the annotated ones that stand in the sentence and were found.
    """

    product: str
    sentences: int
    mined: int
    annotated: int
    precision: float
    recall: float
    sentence_precision: float
    sentence_recall: float


def read_annotated(path: Path) -> list[Annotated]:
    """Read lines {"product", "sentence", "features": [{"feature"}]} (.jsonl, .jsonl.gz). DataError naming the line."""
    found = []
    for place, row in read_objects(path):
        try:
            names = tuple(_singular(one["feature"]) for one in row["features"])
            found.append(Annotated(row["product"], row["sentence"], names))
        except (KeyError, TypeError, AttributeError) as error:
            raise DataError(f"{place}: is not a sentence with product and features") from error
    return found


def agreements(rows: Sequence[Annotated], rule: MiningRule | None = None, least: int = 2) -> list[Agreement]:
    """Mine each product's sentences by themselves and compare with what people found; plural and singular are one."""
    by_product: dict[str, list[Annotated]] = {}
    for row in rows:
        by_product.setdefault(row.product, []).append(row)
    return [_agreement(product, found, rule or MiningRule(), least) for product, found in by_product.items()]


def _agreement(product: str, rows: Sequence[Annotated], rule: MiningRule, least: int) -> Agreement:
    tokens = [tokens_of(row.sentence) for row in rows]
    mined = mine(tokens, rule)
    texts = [f" {_singular(' '.join(one))} " for one in tokens]
    explicit = [{name for name in row.features if f" {name} " in text} for row, text in zip(rows, texts, strict=True)]
    counts = Counter(name for row in explicit for name in row)
    every = {name for row in rows for name in row.features}
    wanted = {name for name, count in counts.items() if count >= least}
    names = {_singular(name) for name in mined.features}
    hits = said = 0
    for one, row in zip(tokens, rows, strict=True):
        beside = {
            _singular(name)
            for name, start, stop in mentions(one, mined.features)
            if opinion_distance(one, start, stop, mined.opinions, rule.window) is not None
        }
        said += len(beside)
        hits += len(beside & set(row.features))
    found_here = sum(
        len({_singular(name) for name, _, _ in mentions(one, mined.features)} & here)
        for one, here in zip(tokens, explicit, strict=True)
    )
    return Agreement(
        product,
        len(rows),
        len(names),
        len(wanted),
        _share(len(names & every), len(names)),
        _share(len(names & wanted), len(wanted)),
        _share(hits, said),
        _share(found_here, sum(map(len, explicit))),
    )


def mean(found: Sequence[Agreement]) -> Mapping[str, float]:
    """The means over products."""
    names = ("precision", "recall", "sentence_precision", "sentence_recall")
    return {name: sum(getattr(one, name) for one in found) / len(found) for name in names}


def _share(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")


def _singular(name: str) -> str:
    return " ".join(
        word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word
        for word in name.lower().split()
    )
