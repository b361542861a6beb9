"""Settings of the task: the text form, what is a query in logs, and which queries may be written."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from m6rec_core.config import DecodingConfig, HistoryRule, SamplingConfig
from m6rec_core.generation import STOP, WritingConfig, for_best
from m6rec_plugin_query_generation.blocklist import Blocklist

Form = Literal["lines", "paper"]


class QueryConfig(WritingConfig):
    """`form`: "lines" writes a line for each thing known and `query_words`, without markers, for pretrained causal
    backbones; "paper" the sentence of section 3.2 with markers.

    `need_words`, `query_words`: what stands before a need and before the query in the form "lines"; write them in the
    language of the queries. `search_kinds`: kinds of events that are a query, `query_field`: the item column that holds
    it (the title where it is missing). `allowed`: only these queries are written; empty: any. `blocked`: words and
    phrases that no written query holds (`m6rec_plugin_query_generation.blocklist`).
    """

    form: Form = "lines"
    need_words: str = Field(default="Need:", min_length=1)
    query_words: str = Field(default="Search query:", min_length=1)
    search_kinds: tuple[str, ...] = ("search", "query")
    query_field: str = "query"
    allowed: tuple[str, ...] = ()
    blocked: tuple[str, ...] = ()
    instruction: str = "Write the search query for what the user needs."
    decoding: DecodingConfig = DecodingConfig(max_new_tokens=32, stop=STOP)
    sampling: SamplingConfig = SamplingConfig(history=HistoryRule(events=10))

    @model_validator(mode="after")
    def _something_is_allowed(self) -> QueryConfig:
        if self.allowed and not self.may_write():
            raise ValueError("every allowed query is blank or blocked; allow others or block fewer")
        return self

    def may_write(self) -> tuple[str, ...]:
        """Return the allowed queries without blank and blocked ones; empty where any query may be written."""
        keep = Blocklist(self.blocked)
        return tuple(query for query in dict.fromkeys(self.allowed) if query.strip() and keep(query))

    def writing(self) -> DecodingConfig:
        """Return the decoding settings, wide enough for `best` queries after doubles and blocked ones are left out."""
        filtered = bool(self.blocked) and not self.allowed
        return for_best(self.decoding, self.best, filtered)
