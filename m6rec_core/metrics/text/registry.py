"""The text metrics by name: what each needs, which way is better, and how to score a system or compare two."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import TypeVar

from m6rec_core.errors import ConfigError, DataError
from m6rec_core.metrics.bootstrap import DEFAULT, Bootstrap, Interval
from m6rec_core.metrics.evidence import Evidence, difference, intervals
from m6rec_core.metrics.text import bleu, distinct, features, novelty, perplexity, rouge
from m6rec_core.metrics.text.features import Mentions, mentioned_features
from m6rec_core.metrics.text.ngrams import TOKENIZERS
from m6rec_core.metrics.text.perplexity import Likelihoods
from m6rec_core.metrics.text.signature import TextScore, signature

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class TextInput:
    """What a text metric may look at; None is not known. One entry per row, `feature_set` and `catalogue` aside.

    hypotheses, references: generated and reference texts, either may be empty. wanted: the feature that a text should
    name, None for rows that want none. feature_set: all features there are. catalogue: the titles that exist.
    likelihoods: of the references under the model. Mentions are found in the hypotheses, unless `mentions` gives them.

    Raises:
        DataError: fields of different lengths.
    """

    hypotheses: Sequence[str] | None = None
    references: Sequence[str] | None = None
    wanted: Sequence[str | None] | None = None
    mentions: Mentions | None = None
    feature_set: frozenset[str] | None = None
    catalogue: Sequence[str] | None = None
    likelihoods: Likelihoods | None = None

    def __post_init__(self) -> None:
        """Check that the fields with rows agree."""
        self._lengths()

    def _lengths(self) -> int | None:
        found = {
            name: len(value)
            for name in ("hypotheses", "references", "wanted", "mentions")
            if (value := getattr(self, name)) is not None
        }
        if self.likelihoods is not None:
            found["likelihoods"] = int(self.likelihoods.tokens.size)
        if len(set(found.values())) > 1:
            parts = ", ".join(f"{count} {name}" for name, count in found.items())
            raise DataError(f"text metrics: {parts}; give one of each per row, in one order")
        return next(iter(found.values()), None)

    def texts(self) -> Sequence[str]:
        """Return the hypotheses."""
        return _known(self.hypotheses, "hypotheses")

    def pairs(self) -> tuple[Sequence[str], Sequence[str]]:
        """Return hypotheses and references."""
        return self.texts(), _known(self.references, "references")

    def found(self, tokenizer: str) -> Mentions:
        """Return the features that each hypothesis mentions."""
        if self.mentions is not None:
            return self.mentions
        wanted = frozenset(feature for feature in self.wanted or () if feature is not None)
        return mentioned_features(self.texts(), wanted | (self.feature_set or frozenset()), tokenizer)


def _known(value: T | None, name: str) -> T:
    if value is None:
        raise DataError(f"text metrics: {name} are needed and not given")
    return value


Measure = Callable[[TextInput, str], Evidence]
"""Input and name of a tokenisation -> evidence."""


@dataclass(frozen=True, slots=True)
class TextMetric:
    """One metric: the fields of `TextInput` it needs, its direction, its own tokenisation (None: looks at no tokens).

    `variant` is the signature without tokenisation and rows.
    """

    name: str
    needs: tuple[str, ...]
    higher_is_better: bool
    variant: str
    tokenizer: str | None
    measure: Measure

    def __post_init__(self) -> None:
        """Check the names of the needs."""
        known = {field.name for field in fields(TextInput)}
        if not set(self.needs) <= known:
            raise ConfigError(f"text metric {self.name}: unknown needs {sorted(set(self.needs) - known)}")

    def possible(self, data: TextInput) -> bool:
        """Whether the input has all that the metric needs."""
        return all(getattr(data, need) is not None for need in self.needs)

    def tokenisation(self, tokenizer: str | None) -> str | None:
        """Return the tokenisation that is used when `tokenizer` is asked for; None asks for the metric's own."""
        return None if self.tokenizer is None else tokenizer or self.tokenizer

    def evidence(self, data: TextInput, tokenizer: str | None = None) -> Evidence:
        """Return the evidence of the rows.

        Raises:
            DataError: the input lacks what the metric needs.
            ConfigError: no such tokenisation.
        """
        if not self.possible(data):
            missing = [need for need in self.needs if getattr(data, need) is None]
            raise DataError(f"text metric {self.name}: {' and '.join(missing)} not given")
        if tokenizer is not None and tokenizer not in TOKENIZERS:
            raise ConfigError(f"tokenisation {tokenizer!r} is not known; choose one of {', '.join(TOKENIZERS)}")
        return self.measure(data, self.tokenisation(tokenizer) or "blanks")


_PAIRS = ("hypotheses", "references")


def _bleu() -> list[TextMetric]:
    def corpus(order: int, scale: float) -> Measure:
        return lambda data, tok: bleu.corpus_bleu(*data.pairs(), order, tok, scale)

    def sentence(order: int, individual: bool) -> Measure:
        return lambda data, tok: bleu.sentence_bleu(*data.pairs(), order, individual, tok)

    sacre = "sacrebleu|bleu-4|corpus|case:mixed|smooth:exp|scale:100"
    found = [TextMetric("bleu", _PAIRS, True, sacre, "13a", lambda data, tok: bleu.sacre_bleu(*data.pairs(), tok))]
    for n in (1, 4):
        variant = f"bleu-{n}|corpus|cumulative|smooth:none|scale:100|PETER"
        found.append(TextMetric(f"bleu_{n}_peter", _PAIRS, True, variant, "blanks", corpus(n, 100.0)))
    for n in (2, 3):
        variant = f"bleu-{n}|corpus|cumulative|smooth:none|scale:1|KOBE"
        found.append(TextMetric(f"bleu_{n}_kobe", _PAIRS, True, variant, "blanks-lc", corpus(n, 1.0)))
    for n in (2, 3):
        variant = f"bleu-{n}|sentence-mean|individual|smooth:none|scale:1|KGSF"
        found.append(TextMetric(f"bleu_{n}_kgsf", _PAIRS, True, variant, "blanks", sentence(n, True)))
    for n in (2, 3):
        variant = f"bleu-{n}|sentence-mean|cumulative|smooth:none|scale:1"
        found.append(TextMetric(f"bleu_{n}_cumulative", _PAIRS, True, variant, "blanks", sentence(n, False)))
    return found


def _rouge() -> list[TextMetric]:
    def clipped(kind: str, part: str) -> Measure:
        return lambda data, tok: rouge.rouge(rouge.rouge_rows(*data.pairs(), kind, tok), part)

    def sets(n: int, part: str) -> Measure:
        return lambda data, tok: rouge.rouge(rouge.rouge_set_rows(*data.pairs(), n, tok), part, 100.0)

    found = []
    for part, letter in (("precision", "p"), ("recall", "r"), ("f1", "f")):
        for kind in ("1", "2", "L"):
            variant = f"rouge-{kind}|{part}|sentence-mean|stem:no|scale:1"
            name = f"rouge_{kind.lower()}_{letter}"
            found.append(TextMetric(name, _PAIRS, True, variant, "rouge", clipped(kind, part)))
        for n in (1, 2):
            variant = f"rouge-{n}|{part}|sentence-mean|sets|scale:100|PETER"
            found.append(TextMetric(f"rouge_{n}_{letter}_peter", _PAIRS, True, variant, "blanks", sets(n, part)))
    return found


def _alone() -> list[TextMetric]:
    def distinct_n(n: int, per_row: bool) -> Measure:
        return lambda data, tok: distinct.distinct_ngrams(data.texts(), n, per_row, tok)

    found = []
    for n in (2, 3, 4):
        variant = f"dist-{n}|unique/total"
        found.append(TextMetric(f"dist_{n}", ("hypotheses",), True, variant, "blanks", distinct_n(n, False)))
        variant = f"dist-{n}|unique/responses|KBRD"
        found.append(TextMetric(f"dist_{n}_kbrd", ("hypotheses",), True, variant, "blanks", distinct_n(n, True)))
    usr = "usr|unique sentences/n|PETER"
    found.append(
        TextMetric("usr", ("hypotheses",), True, usr, "blanks", lambda d, t: distinct.unique_sentences(d.texts(), t))
    )
    return found


def _perplexity() -> list[TextMetric]:
    def per(unit: str) -> Measure:
        return lambda data, _: perplexity.perplexity(_known(data.likelihoods, "likelihoods"), unit)

    return [
        TextMetric(f"ppl_{unit[:-1]}", ("likelihoods",), False, f"ppl|corpus|per:{unit[:-1]}", None, per(unit))
        for unit in perplexity.UNITS
    ]


def _feature_metrics() -> list[TextMetric]:
    def fmr(data: TextInput, tok: str) -> Evidence:
        return features.feature_matching(data.found(tok), _known(data.wanted, "wanted features"))

    def fcr(data: TextInput, tok: str) -> Evidence:
        return features.feature_coverage(data.found(tok), _known(data.feature_set, "features"))

    def div(data: TextInput, tok: str) -> Evidence:
        return features.feature_diversity(data.found(tok))

    both = ("hypotheses", "feature_set")
    return [
        TextMetric("fmr", ("hypotheses", "wanted"), True, "fmr|words side by side|case:no|PETER", "13a", fmr),
        TextMetric("fcr", both, True, "fcr|words side by side|case:no|PETER", "13a", fcr),
        TextMetric("div", both, False, "div|pairs|words side by side|case:no|PETER", "13a", div),
    ]


def _novelty() -> list[TextMetric]:
    needs, how = ("hypotheses", "catalogue"), "norm:nfkc+casefold+words"

    def share(function: Callable[[Sequence[str], Iterable[str]], Evidence]) -> Measure:
        return lambda data, _: function(data.texts(), _known(data.catalogue, "catalogue titles"))

    return [
        TextMetric("copies", needs, False, f"copies|exact|{how}", None, share(novelty.copies)),
        TextMetric("novelty", needs, True, f"novelty|1-copies|empty:not new|{how}", None, share(novelty.novelty)),
    ]


TEXT_METRICS: Mapping[str, TextMetric] = MappingProxyType(
    {
        metric.name: metric
        for metric in (*_bleu(), *_rouge(), *_alone(), *_perplexity(), *_feature_metrics(), *_novelty())
    }
)
"""Name -> metric, immutable: what the generation tasks report."""


def text_metric(name: str) -> TextMetric:
    """Return the metric of a name.

    Raises:
        ConfigError: no such metric.
    """
    if name not in TEXT_METRICS:
        raise ConfigError(f"text metric {name!r} is not known; choose from {', '.join(TEXT_METRICS)}")
    return TEXT_METRICS[name]


def score_texts(
    names: Iterable[str], data: TextInput, tokenizer: str | None = None, plan: Bootstrap | None = DEFAULT
) -> dict[str, TextScore]:
    """Return each named metric's score with its signature and interval; `tokenizer` None uses each metric's own.

    `plan` None leaves the intervals out. All intervals come from the same resamples.

    Raises:
        ConfigError: no such metric or tokenisation.
        DataError: the input lacks what a metric needs.
    """
    metrics = [text_metric(name) for name in names]
    evidence = {metric.name: metric.evidence(data, tokenizer) for metric in metrics}
    found = intervals(evidence, plan) if plan is not None else {}
    return {
        metric.name: TextScore(
            evidence[metric.name].value,
            signature(metric.variant, metric.tokenisation(tokenizer), evidence[metric.name].rows),
            evidence[metric.name].rows,
            found.get(metric.name),
        )
        for metric in metrics
    }


def compare_texts(
    names: Iterable[str], model: TextInput, other: TextInput, tokenizer: str | None = None, plan: Bootstrap = DEFAULT
) -> dict[str, Interval]:
    """Return model minus other for each named metric with the paired interval: two systems on the same rows.

    Raises:
        ConfigError: no such metric or tokenisation.
        DataError: an input lacks what a metric needs, or the rows are not the same (their references differ).
    """
    if (
        model.references is not None
        and other.references is not None
        and list(model.references) != list(other.references)
    ):
        raise DataError("paired difference: the references differ; score the same rows in one order")
    metrics = [text_metric(name) for name in names]
    return {m.name: difference(m.evidence(model, tokenizer), m.evidence(other, tokenizer), plan) for m in metrics}
