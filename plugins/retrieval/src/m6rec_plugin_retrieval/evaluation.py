"""Full ranking: every user's held-out item among the whole catalogue, beside what other packages retrieve."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

import numpy as np
from numpy.typing import NDArray

from m6rec_core.metrics import Bootstrap
from m6rec_core.metrics.retrieval import hit_rate, mrr, ndcg
from m6rec_core.types import Item, Report, RunView, Sample
from m6rec_plugin_retrieval.cases import Catalogue, codes_of, open_catalogue
from m6rec_plugin_retrieval.contenders import run_contenders
from m6rec_plugin_retrieval.ranking import Ranked, rank_vectors
from m6rec_plugin_retrieval.report import facts_of, metrics_of, table_of
from m6rec_plugin_retrieval.sample import RetrievalPrediction, RetrievalSample, item_sample, user_sample
from m6rec_plugin_retrieval.settings import RetrievalConfig

Float32Array = NDArray[np.float32]


LARGE = 1000
"""From so many items on HR@100 tells steps apart; in a smaller catalogue HR@10 does."""


class FullRanking:
    """Hit rate, NDCG, reciprocal rank and coverage over the whole catalogue. The best step is chosen by HR@100 of the
    valid rows, of the metrics of a single target the one with the least noise, or HR@10 in a small catalogue.
    """

    def valid(self, run: RunView) -> Mapping[str, float]:
        """HR@100 (or HR@10), NDCG@10 and MRR on the valid rows, among all items, or `settings.valid_items` of them."""
        config, rows = _settings(run), _rows(run, "valid")
        catalogue = open_catalogue(run.logs, run.parts, config, run.seed)
        targets = codes_of(catalogue, rows)
        kept = np.arange(len(catalogue.items))
        prefix = ""
        if config.valid_items is not None and config.valid_items < len(kept):
            drawn = np.random.default_rng(0).permutation(len(kept))[: config.valid_items]
            kept = np.unique(np.concatenate([drawn, targets]))
            prefix = "sampled "
        items = encode_items(run, [catalogue.items[int(code)] for code in kept])
        found = rank_vectors(encode_users(run, rows), items, np.searchsorted(kept, targets))
        count = len(items)
        depth = 100 if not prefix and count >= LARGE else min(10, count)
        return {
            f"{prefix}hr@{depth}": hit_rate(found.ranks, count, depth).value,
            f"{prefix}ndcg@10": ndcg(found.ranks, count, min(10, count)).value,
            f"{prefix}mrr": mrr(found.ranks, count).value,
        }

    def test(self, run: RunView) -> Report:
        """The table of all test rows, and that of the rows whose item was held out of training where there are any."""
        config, rows = _settings(run), _rows(run, "test")
        catalogue = open_catalogue(run.logs, run.parts, config, run.seed)
        targets = codes_of(catalogue, rows)
        skip = _skipped(catalogue, rows, config)
        items, users = encode_items(run, catalogue.items), encode_users(run, rows)
        if not run.main:
            return Report((), (), {})
        model = rank_vectors(users, items, targets, skip)
        others = run_contenders(run, catalogue, rows, targets, skip)
        ranked = {"m6rec": model, **others}
        plan = Bootstrap(resamples=run.evaluation.bootstrap)
        tables = [table_of(f"{len(rows):,} users, {len(items):,} items ranked in full", ranked, None, plan, len(items))]
        unseen = catalogue.unseen[targets]
        if unseen.any():
            title = f"{int(unseen.sum()):,} of them, whose item is held out of all training"
            tables.append(table_of(title, ranked, unseen, plan, len(items)))
        return Report(
            tables=tuple(tables),
            facts=facts_of(run, config, catalogue),
            metrics=metrics_of(ranked, unseen, plan, len(items)),
            predictions=_answers(rows, catalogue, ranked, unseen),
        )


def encode_items(run: RunView, items: Sequence[Item]) -> Float32Array:
    """Vectors [I, width] of items."""
    return vectors(run.answer([item_sample(item) for item in items], "encoding items"))


def encode_users(run: RunView, rows: Sequence[RetrievalSample]) -> Float32Array:
    """Vectors [N, width] of the users of rows; the candidates do not go in."""
    return vectors(run.answer([user_sample(row) for row in rows], "encoding users"))


def vectors(predictions: Sequence[object]) -> Float32Array:
    """Predictions as float32 [n, width]."""
    found = [cast(RetrievalPrediction, prediction).vector for prediction in predictions]
    return np.asarray(found, dtype=np.float32)


def _skipped(
    catalogue: Catalogue, rows: Sequence[RetrievalSample], config: RetrievalConfig
) -> Sequence[Sequence[int]] | None:
    return catalogue.histories(rows) if config.exclude_history else None


def _answers(
    rows: Sequence[RetrievalSample], catalogue: Catalogue, ranked: Mapping[str, Ranked], unseen: NDArray[np.bool_]
) -> list[dict[str, object]]:
    ids = [item.item_id for item in catalogue.items]
    found: list[dict[str, object]] = []
    for n, row in enumerate(rows):
        line: dict[str, object] = {
            "id": row.id,
            "user_id": row.user_id,
            "item_id": cast(Item, row.candidate).item_id,
            "unseen": bool(unseen[n]),
            "top": [ids[int(code)] for code in ranked["m6rec"].top[n]],
        }
        line.update({f"rank {name}": float(one.ranks[n]) for name, one in ranked.items()})
        found.append(line)
    return found


def _settings(run: RunView) -> RetrievalConfig:
    return cast(RetrievalConfig, run.settings)


def _rows(run: RunView, part: str) -> list[RetrievalSample]:
    rows: Sequence[Sample] = run.parts[part]
    return [cast(RetrievalSample, row) for row in rows]
