"""Samples from behaviour logs: each product that a user bought, after what the user did strictly before it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from m6rec_core.config import LabelRule, TaskConfig
from m6rec_core.errors import DataError
from m6rec_core.logs.samples import SampleTable, build_samples
from m6rec_core.logs.schema import Logs
from m6rec_core.types import BehaviourSample, Sample
from m6rec_plugin_product_design.sample import DesignSample
from m6rec_plugin_product_design.serialize import item_texts
from m6rec_plugin_product_design.settings import DesignConfig


def derive(logs: Logs, config: TaskConfig, seed: int) -> Mapping[str, Sequence[Sample]]:
    """The products bought in each part, split by time. Left out: those without a history, since nothing leads to them,
    without a title, and with a value (a rating) below `least_value`.

    Raises DataError where the logs hold no such kind of event, or nothing remains.
    """
    del seed  # time decides
    if not isinstance(config, DesignConfig):
        raise TypeError(f"settings of product-design are a DesignConfig, not {type(config).__name__}")
    present = {str(kind) for kind in logs.events["kind"].unique()}
    kinds = tuple(kind for kind in config.bought_kinds or sorted(present) if kind in present)
    if not kinds:
        raise DataError(
            f"{logs.source}: no event is of kind {' or '.join(config.bought_kinds)} (there are: "
            f"{', '.join(sorted(present))}); name the kinds that are a purchase in settings.bought_kinds"
        )
    sampling = config.sampling.model_copy(
        update={"target_kinds": kinds, "label": LabelRule(at_least=None, positive_kinds=kinds)}
    )
    table = build_samples(logs, sampling, BehaviourSample, label_field="")
    parts = {part: list(_samples(table, part, config)) for part in table.splits}
    if not any(parts.values()):
        raise DataError(
            f"{logs.source}: no bought item has a {config.title_field!r} and an earlier event of the user; name the "
            "column of the titles in settings.title_field"
        )
    return parts


def _samples(table: SampleTable, part: str, config: DesignConfig) -> Iterator[DesignSample]:
    value = table.timeline.events.value
    for index in table.splits[part]:
        if value[table.event[index]] < config.least_value:  # false for nan: a purchase without a rating stays
            continue
        row = table.sample(int(index))
        category, title = item_texts(row.candidate, config)
        if title and row.history:
            yield DesignSample(
                id=row.id, user=row.user, history=row.history, timestamp=row.timestamp, category=category, title=title
            )
