"""Two stages: candidates by vectors, their order by a task that scores one candidate for one user."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from m6rec_core.errors import DataError, PackError
from m6rec_core.logs.samples import build_samples
from m6rec_core.logs.schema import Logs
from m6rec_core.serving.opening import Opened, open_pack
from m6rec_core.types import BehaviourSample, Item, Sample
from m6rec_plugin_retrieval.asking import Shelf, best_first, met, nearest, open_shelf, user_of_logs
from m6rec_plugin_retrieval.encoding import ItemEncoder, open_encoder

LATEST = 5


@dataclass(frozen=True, slots=True, eq=False)
class Stages:
    """Both stages, loaded."""

    encoder: ItemEncoder
    shelf: Shelf
    ranker: Opened


@dataclass(frozen=True, slots=True)
class Recommended:
    """Items for a user, best ranked first, with both scores; `latest`: titles of the latest events, oldest first."""

    user: str
    by: str
    ids: tuple[str, ...]
    titles: tuple[str, ...]
    retrieval: tuple[float, ...]
    ranking: tuple[float, ...]
    latest: tuple[str, ...]


def open_stages(
    retrieval_pack: Path, ranking_pack: Path, index: Path | None, logs: Logs, backbone: str | None
) -> Stages:
    """Load both packs and the index. Raises PackError for a ranking pack whose task does not score candidates."""
    ranker = open_pack(ranking_pack, backbone, None)
    manifest = ranker.task.manifest
    if not issubclass(manifest.sample, BehaviourSample) or not manifest.score_field:
        raise PackError(f"{ranking_pack}: task {manifest.task} does not score candidates; give a ctr pack")
    encoder = open_encoder(retrieval_pack, backbone)
    return Stages(encoder, open_shelf(encoder, index, logs), ranker)


def recommend_to(stages: Stages, logs: Logs, user_id: str, k: int) -> Recommended:
    """Retrieve K items that the user has not met, then rank them. Errors as `nearest`, `user_of_logs`."""
    user = user_of_logs(logs, user_id, stages.encoder.settings)
    found = nearest(stages.encoder, stages.shelf, [user], k, [met(logs, user_id)])[0]
    items = [stages.shelf.items[one] for one in found.ids if one in stages.shelf.items]
    if len(items) < len(found.ids):
        lost = next(one for one in found.ids if one not in stages.shelf.items)
        raise DataError(f"{logs.source}: item {lost!r} of the index is not in the items table; build the index again")
    samples = candidate_samples(stages.ranker, logs, user_id, items)
    field = stages.ranker.task.manifest.score_field
    scores = [float(getattr(one, field)) for one in stages.ranker.predict(samples)]
    order = best_first(scores)
    latest = [event.item.fields.get("title", event.item.item_id) for event in user.history[-LATEST:]]
    return Recommended(
        user=user_id,
        by=found.by,
        ids=tuple(items[n].item_id for n in order),
        titles=tuple(items[n].fields.get("title", items[n].item_id) for n in order),
        retrieval=tuple(found.scores[n] for n in order),
        ranking=tuple(scores[n] for n in order),
        latest=tuple(latest),
    )


def candidate_samples(ranker: Opened, logs: Logs, user_id: str, items: Sequence[Item]) -> list[Sample]:
    """Samples of the ranking task for candidates that the user is asked about now, after all of the logs.

    One question about each candidate is put after the last event, and the core derives samples as it did for the
    task's training: the questions have one time, so that they do not see each other. What they answer is made up, and
    never reaches the text.
    """
    manifest, sampling = ranker.task.manifest, ranker.settings.sampling
    if not issubclass(manifest.sample, BehaviourSample):
        raise PackError(f"task {manifest.task} does not score candidates; give a ctr pack")
    frame = logs.events
    kinds = sampling.target_kinds or (str(frame["kind"].mode().iat[0]),)
    now, after = float(frame["timestamp"].max()) + 1.0, int(frame.index.max()) + 1
    asked = pd.DataFrame(
        {
            "user_id": user_id, "item_id": [item.item_id for item in items], "timestamp": now, "kind": kinds[0],
            "value": 0.0,
        },
        index=range(after, after + len(items)),
    )  # fmt: skip
    whole = replace(logs, events=pd.concat([frame, asked]))
    table = build_samples(whole, sampling, manifest.sample, manifest.label_field)
    samples = table.samples(np.flatnonzero(table.time == now))
    by_item = {sample.candidate.item_id: sample for sample in samples}
    return [by_item[item.item_id] for item in items]
