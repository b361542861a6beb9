"""Metrics of generated texts, each with its signature. Pure functions; `TEXT_METRICS` has them by name."""

from m6rec_core.metrics.text.features import mentioned_features
from m6rec_core.metrics.text.ngrams import TOKENIZERS
from m6rec_core.metrics.text.perplexity import Likelihoods, likelihoods_of
from m6rec_core.metrics.text.registry import (
    TEXT_METRICS,
    TextInput,
    TextMetric,
    compare_texts,
    score_texts,
    text_metric,
)
from m6rec_core.metrics.text.signature import TextScore, signature

__all__ = [
    "TEXT_METRICS",
    "TOKENIZERS",
    "Likelihoods",
    "TextInput",
    "TextMetric",
    "TextScore",
    "compare_texts",
    "likelihoods_of",
    "mentioned_features",
    "score_texts",
    "signature",
    "text_metric",
]
