"""Samples from behaviour logs: each search of a user, after what the user did strictly before it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from m6rec_core.config import LabelRule, TaskConfig
from m6rec_core.errors import DataError
from m6rec_core.logs.samples import SampleTable, build_samples
from m6rec_core.logs.schema import Logs
from m6rec_core.text.template import clean
from m6rec_core.types import BehaviourSample, Sample
from m6rec_plugin_query_generation.sample import QuerySample
from m6rec_plugin_query_generation.settings import QueryConfig


def derive(logs: Logs, config: TaskConfig, seed: int) -> Mapping[str, Sequence[Sample]]:
    """The searches of each part, split by time. Those without a history or a text are left out: nothing leads to them.

    Raises DataError where the logs hold no search.
    """
    del seed  # time decides
    if not isinstance(config, QueryConfig):
        raise TypeError(f"settings of query-generation are a QueryConfig, not {type(config).__name__}")
    present = {str(kind) for kind in logs.events["kind"].unique()}
    kinds = tuple(kind for kind in config.search_kinds if kind in present)
    if not kinds:
        raise DataError(
            f"{logs.source}: no event is of kind {' or '.join(config.search_kinds)} (there are: "
            f"{', '.join(sorted(present))}); name the kinds that are a query in settings.search_kinds"
        )
    sampling = config.sampling.model_copy(
        update={"target_kinds": kinds, "label": LabelRule(at_least=None, positive_kinds=kinds)}
    )
    table = build_samples(logs, sampling, BehaviourSample, label_field="")
    return {part: list(_samples(table, part, config)) for part in table.splits}


def _samples(table: SampleTable, part: str, config: QueryConfig) -> Iterator[QuerySample]:
    for index in table.splits[part]:
        row = table.sample(int(index))
        fields = row.candidate.fields
        query = clean(fields.get(config.query_field, "")) or clean(fields.get("title", ""))
        if query and row.history:
            yield QuerySample(id=row.id, user=row.user, history=row.history, timestamp=row.timestamp, query=query)
