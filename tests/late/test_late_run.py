"""A run with late interaction, its pack, and ranking with it: from the cache as without it."""

from __future__ import annotations

import json
from threading import Thread

import pandas as pd
import pytest
from m6rec_plugin_ctr.sample import CtrSample
from m6rec_plugin_ctr.settings import CtrConfig

from m6rec_core.cli import main
from m6rec_core.config import CacheConfig
from m6rec_core.errors import DataError
from m6rec_core.logs import build_samples, read_logs
from m6rec_core.runs import pipeline
from m6rec_core.serving.catalogue import Candidate, read_catalogue
from m6rec_core.serving.opening import open_pack
from m6rec_core.serving.ranker import Ranker
from m6rec_core.tuning.pack import read_manifest
from m6rec_core.types import Item

LATE = ("--late-layers", "1", "--shots", "150", "--set", "evaluation.rows=40", "--set", "evaluation.valid_rows=40")


def finish(arguments) -> None:
    with pytest.raises(SystemExit) as done:
        main([str(one) for one in arguments])
    assert done.value.code == 0


@pytest.fixture(scope="module")
def late_run(films, tmp_path_factory):
    output = tmp_path_factory.mktemp("late") / "films"
    finish(films.command(output, *LATE))
    return output


@pytest.fixture
def opened(late_run, films):
    return open_pack(late_run / "pack", str(films.backbone), None)


@pytest.fixture
def samples(late_run, films):
    settings = CtrConfig.model_validate(read_manifest(late_run / "pack").settings)
    table = build_samples(read_logs(films.logs), settings.sampling, CtrSample)
    return [table.sample(int(row)) for row in table.splits["test"]]


def candidates(count: int) -> list[Candidate]:
    return [
        Candidate(item=Item(item_id=f"i{i}", fields={"title": f"Film {i}", "year": str(1980 + i), "genres": "Drama"}))
        for i in range(count)
    ]


def test_a_run_tunes_the_upper_layers_from_the_cache(late_run):
    metrics = json.loads((late_run / "metrics.json").read_text())
    manifest = read_manifest(late_run / "pack")
    assert manifest.tuning.late_layers == 1
    assert manifest.plan.first_adapter_layer == manifest.backbone.layers - 1
    cache = metrics["segment_cache"]
    assert cache["asked"] > 0
    assert cache["computed"] == cache["faults"] == cache["evictions"] == 0
    assert cache["hit_rate"] == 1.0
    assert metrics["training"]["of"] > 0


def test_the_run_from_the_cache_is_the_run_in_one_pass(films, late_run, tmp_path, monkeypatch):
    monkeypatch.setattr(pipeline, "attach_cache", lambda *_: None)
    finish(films.command(tmp_path / "plain", *LATE))
    cached, plain = (pd.read_parquet(folder / "predictions.parquet") for folder in (late_run, tmp_path / "plain"))
    assert (cached["id"] == plain["id"]).all()
    scores = [name for name in cached.columns if name.startswith("m6rec")]
    assert scores
    for name in scores:
        assert (cached[name] - plain[name]).abs().max() < 1e-3


@pytest.mark.parametrize("tuning", ["adapter", "prompt", "fine-tuning"])
def test_every_mode_runs_with_late_interaction(films, tmp_path, tuning):
    finish(films.command(tmp_path / "run", *LATE, "--tuning", tuning, "--set", "training.max_steps=2"))
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert ("segment_cache" in metrics) == (tuning != "fine-tuning")


def test_ranking_is_scoring_one_by_one(opened, samples):
    ranker = Ranker(opened)
    user, chosen = samples[-1], candidates(12)
    ranked = ranker.rank(user, chosen)
    single = {c.item.item_id: opened.predict([user.model_copy(update={"candidate": c.item})])[0].score for c in chosen}
    assert sorted(r.item_id for r in ranked) == sorted(single)
    assert [r.score for r in ranked] == sorted((r.score for r in ranked), reverse=True)
    for one in ranked:
        assert one.score == pytest.approx(single[one.item_id], abs=1e-5)
    opened.model.segments = None
    for one, again in zip(ranked, ranker.rank(user, chosen), strict=True):
        assert one.score == pytest.approx(again.score, abs=1e-5)


def test_many_requests_are_each_request_by_itself(opened, samples):
    ranker = Ranker(opened)
    requests = [(samples[-1 - n], candidates(3 + n)) for n in range(4)]
    together = ranker.rank_many(requests)
    for (user, chosen), found in zip(requests, together, strict=True):
        alone = {r.item_id: r.score for r in ranker.rank(user, chosen)}
        assert {r.item_id: r.score for r in found} == pytest.approx(alone, abs=1e-5)


def test_a_new_event_needs_one_new_segment(opened, samples):
    ranker = Ranker(opened)
    user = next(s for s in reversed(samples) if len(s.history) > 1)
    chosen = candidates(3)
    ranker.rank(user.model_copy(update={"history": user.history[:-1]}), chosen)
    before = ranker.cache.counts().computed
    ranker.rank(user, chosen)
    assert ranker.cache.counts().computed - before <= 1


def test_threads_rank_at_once(opened, samples):
    ranker = Ranker(opened)
    user, chosen = samples[-1], candidates(6)
    ranker.warm_up(user, chosen)
    expected = {r.item_id: r.score for r in ranker.rank(user, chosen)}
    found: list[dict[str, float]] = []
    threads = [
        Thread(target=lambda: found.append({r.item_id: r.score for r in ranker.rank(user, chosen)})) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    for one in found:
        assert one == pytest.approx(expected, abs=1e-5)


def test_a_catalogue_is_encoded_before_it_is_asked_for(opened, samples, tmp_path):
    ranker = Ranker(opened, CacheConfig(memory_mb=4))
    frame = pd.DataFrame([{"item_id": c.item.item_id, **c.item.fields, "item_rate": 0.5, "item_count": 9.0}
                          for c in candidates(20)])  # fmt: skip
    frame.to_parquet(tmp_path / "items.parquet")
    ticks: list[int] = []
    count = ranker.pre_encode_catalogue(tmp_path / "items.parquet", ticks.append)
    assert sum(ticks) == count > 20
    before = ranker.cache.counts().computed
    known = read_catalogue(tmp_path / "items.parquet")
    ranker.rank(samples[-1].model_copy(update={"history": (), "user": {}}), known)
    assert ranker.cache.counts().computed == before


def test_no_candidates_and_a_bad_catalogue_are_data_errors(opened, samples, tmp_path):
    ranker = Ranker(opened)
    with pytest.raises(DataError, match="request 1 has no candidates"):
        ranker.rank(samples[-1], [])
    (tmp_path / "bad.parquet").write_text("nothing")
    with pytest.raises(DataError, match="cannot be read as parquet"):
        read_catalogue(tmp_path / "bad.parquet")
    pd.DataFrame({"title": ["x"]}).to_parquet(tmp_path / "no_id.parquet")
    with pytest.raises(DataError, match="column item_id is missing"):
        read_catalogue(tmp_path / "no_id.parquet")


def test_the_command_ranks_a_file_of_requests(late_run, films, samples, tmp_path):
    user = samples[-1].model_dump(mode="json", exclude={"id", "candidate", "label"})
    chosen = [c.model_dump(mode="json") for c in candidates(3)]
    lines = [json.dumps({"id": f"r{n}", "user": user, "candidates": chosen[: n + 1]}) for n in range(3)]
    (tmp_path / "requests.jsonl").write_text("\n".join(lines) + "\n")
    command = [
        "rank",
        "--pack",
        late_run / "pack",
        "--backbone",
        films.backbone,
        "--input",
        tmp_path / "requests.jsonl",
    ]
    finish([*command, "--output", tmp_path / "out.jsonl"])
    found = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [(one["id"], len(one["ranking"])) for one in found] == [("r0", 1), ("r1", 2), ("r2", 3)]
    (tmp_path / "requests.jsonl").write_text('{"id": "r0", "user": {}, "candidates": []}\n')
    with pytest.raises(SystemExit) as done:
        main([str(part) for part in command])
    assert done.value.code == 2
