"""Comparison models on the same rows: those of the core, and every installed one of the group `m6rec.retrievers`."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from importlib.metadata import EntryPoint, entry_points

import numpy as np
from numpy.typing import NDArray

from m6rec_core.baselines import TRIVIAL_RETRIEVERS, FittedRetriever, Retriever
from m6rec_core.errors import ConfigError, M6RecError, RegistryError
from m6rec_core.types import RunView
from m6rec_plugin_retrieval.cases import Catalogue
from m6rec_plugin_retrieval.ranking import Float32Array, Ranked, rank_all
from m6rec_plugin_retrieval.sample import RetrievalSample

GROUP = "m6rec.retrievers"


def run_contenders(
    run: RunView,
    catalogue: Catalogue,
    rows: Sequence[RetrievalSample],
    targets: NDArray[np.int64],
    skip: Sequence[Sequence[int]] | None,
) -> dict[str, Ranked]:
    """Fit and rank with each comparison model; an installed one that fails is reported and left out.

    They learn from the whole training part, whatever the run's shots. Raises ConfigError for an unknown name in
    `evaluation.baselines`.
    """
    valid = catalogue.rows([row for row in run.parts["valid"] if isinstance(row, RetrievalSample)])
    asked = catalogue.rows(rows)
    found: dict[str, Ranked] = {}
    for name in _names(run.evaluation.baselines):
        began = time.monotonic()
        try:
            fitted = _load(name).fit(catalogue.data, valid, run.seed, run.say)
            found[name] = rank_all(partial(_scores, fitted, asked.histories), targets, skip)
        except Exception as error:
            # Another package's comparison must not cost a run its result, whatever goes wrong in it.
            if name in _trivial():
                raise
            reason = error if isinstance(error, M6RecError) else f"{type(error).__name__}: {error}"
            run.say(f"baseline {name} is left out: {' '.join(str(reason).split())}")
            continue
        run.say(f"baseline {name}: {time.monotonic() - began:.0f} s")
    return found


def _scores(fitted: FittedRetriever, histories: Sequence[Sequence[int]], start: int, stop: int) -> Float32Array:
    return fitted.scores(histories[start:stop])


def _trivial() -> dict[str, Retriever]:
    return {retriever.name: retriever for retriever in TRIVIAL_RETRIEVERS}


def _names(asked: Sequence[str] | None) -> list[str]:
    known = [*_trivial(), *sorted({point.name for point in entry_points(group=GROUP)})]
    for name in asked or ():
        if name not in known:
            raise ConfigError(f"evaluation.baselines: there is no retriever {name!r} (there are: {', '.join(known)})")
    return known if asked is None else list(asked)


def _load(name: str) -> Retriever:
    trivial = _trivial()
    if name in trivial:
        return trivial[name]
    points: list[EntryPoint] = [point for point in entry_points(group=GROUP) if point.name == name]
    value = points[0].load()
    if not isinstance(value, Retriever):
        raise RegistryError(f"retriever {name!r}: {type(value).__name__} has no fit; see docs/retrieval.md")
    return value
