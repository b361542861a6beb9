"""The head has no parameters: the language model itself is tuned, and writes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from torch import nn

from m6rec_core.generation import answer_text, write_predictions
from m6rec_core.types import Generate, TaskView
from m6rec_plugin_query_generation.blocklist import Blocklist
from m6rec_plugin_query_generation.sample import QueryPrediction, QuerySample
from m6rec_plugin_query_generation.serialize import serialize
from m6rec_plugin_query_generation.settings import QueryConfig


class QueryHead(nn.Module):
    """Knows the settings, and which queries may be written."""

    def __init__(self, config: QueryConfig) -> None:
        """Prepare the sets of allowed and blocked queries."""
        super().__init__()
        self.config = config
        self.decoding = config.writing()
        self.allowed = tuple(answer_text(query, config.form == "paper") for query in config.may_write()) or None
        self.keep = Blocklist(config.blocked)


def predictions(head: QueryHead, view: TaskView, generate: Generate) -> Sequence[QueryPrediction]:
    """Write the queries of each sample, in order. The sample's own query is taken away before its text is made."""
    hidden = [cast(QuerySample, sample).model_copy(update={"query": None}) for sample in view.samples]
    rows = [serialize(sample, head.config).rows[0] for sample in hidden]
    return write_predictions(
        QueryPrediction, view, rows, generate, head.decoding, head.config.best, head.allowed, head.keep
    )
