"""Stage `baselines`: what the model is compared with on the same rows, and the protocols for adding more."""

from m6rec_core.baselines.data import NO_EVENT, UNKNOWN_OUTCOME, Baseline, BaselineData, BaselineResult
from m6rec_core.baselines.retrieval import (
    NOT_SCORED,
    TRIVIAL_RETRIEVERS,
    FittedRetriever,
    RetrievalData,
    RetrievalRows,
    Retriever,
    retrieval_data,
    retrieval_rows,
)
from m6rec_core.baselines.samples import baseline_data
from m6rec_core.baselines.trivial import TRIVIAL

__all__ = [
    "NOT_SCORED",
    "NO_EVENT",
    "TRIVIAL",
    "TRIVIAL_RETRIEVERS",
    "UNKNOWN_OUTCOME",
    "Baseline",
    "BaselineData",
    "BaselineResult",
    "FittedRetriever",
    "RetrievalData",
    "RetrievalRows",
    "Retriever",
    "baseline_data",
    "retrieval_data",
    "retrieval_rows",
]
