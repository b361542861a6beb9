"""A task whose manifest brings `derive` and `evaluation` runs end to end, from logs and from sample files."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch

from m6rec_core.errors import ConfigError, DataError
from m6rec_core.logs.jsonl import write_samples
from m6rec_core.registry import TaskRegistry, load_task
from m6rec_core.runs.data import choose_rows, open_data
from m6rec_core.runs.found import Clock
from m6rec_core.runs.pipeline import run
from m6rec_core.runs.reported import report_pack
from m6rec_core.runs.settings import parse_assignments, resolve
from m6rec_core.serving.opening import Opened
from m6rec_core.training.accelerator import make_accelerator

HERE = Path(__file__).parent
SETTINGS = ("tuning.budget=0.9", "tuning.mode=adapter", "training.precision=fp32", "training.evaluations=2", "shots=10")


@pytest.fixture(scope="module")
def task():
    spec = importlib.util.spec_from_file_location("word_task", HERE / "word_task.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return TaskRegistry().add(module, "word-task", "0")


def start(task, films, data, output, *settings):
    asked = {"task": "word", "data": str(data), "backbone": str(films.backbone)}
    found = open_data(str(data))
    config = resolve(task.manifest, [asked, parse_assignments([*SETTINGS, *settings])], found.domain)
    accelerator = make_accelerator(config.training, output, cpu=True)
    return run(task, config, found, accelerator, output, False, Clock(), quiet=True)


def test_a_run_from_logs_reports_what_the_evaluation_found(task, films, tmp_path):
    outcome = start(task, films, films.logs, tmp_path / "run")
    metrics = json.loads((tmp_path / "run/metrics.json").read_text())
    assert metrics["report"]["accuracy"] == outcome.metrics["report"]["accuracy"]
    assert metrics["protocol"]["rows"]["train"] == {"used": 10, "of": 20, "tokens": pytest.approx(150, abs=150)}
    assert metrics["training"]["of"] == 1
    rows = pq.read_table(tmp_path / "run/predictions.parquet").to_pylist()
    assert len(rows) == metrics["protocol"]["rows"]["test"]["used"] == 20
    assert sum(r["loss"] for r in rows) / 20 == pytest.approx(metrics["report"]["loss"])
    assert (tmp_path / "run/learning-curve.png").stat().st_size > 1000


def test_without_shots_nothing_is_trained_and_the_bare_backbone_answers(task, films, tmp_path):
    outcome = start(task, films, films.logs, tmp_path / "run", "shots=0")
    assert outcome.metrics["training"]["of"] == 0
    assert ("tuned", f"{outcome.metrics['tuning']['parameters']:,} parameters") == (
        outcome.facts[2][0],
        outcome.facts[2][1].split(" (")[0],
    )
    assert "not trained" in outcome.facts[2][1]


def test_sample_files_give_the_run_that_logs_give(task, films, tmp_path):
    folder = tmp_path / "samples"
    derived = task.manifest.derive(open_data(str(films.logs)), task.manifest.config(), 0)
    for part, samples in derived.items():
        write_samples(folder / f"{part}.jsonl", samples)
    one = start(task, films, films.logs, tmp_path / "one", "shots=0")
    two = start(task, films, folder, tmp_path / "two", "shots=0")
    assert two.metrics["report"] == one.metrics["report"]


def test_a_sample_in_two_parts_is_refused(task, films, tmp_path):
    samples = task.manifest.derive(open_data(str(films.logs)), task.manifest.config(), 0)["test"]
    for part in ("train", "test"):
        write_samples(tmp_path / f"{part}.jsonl", samples[:2])
    with pytest.raises(DataError, match=r"test\.jsonl, line 1, field 'id': .* is in the train part too"):
        start(task, films, tmp_path, tmp_path / "run", "shots=0")


def test_a_folder_without_a_test_part_is_refused(task, films, tmp_path):
    write_samples(
        tmp_path / "train.jsonl", task.manifest.derive(open_data(str(films.logs)), task.manifest.config(), 0)["train"]
    )
    with pytest.raises(DataError, match=r"there is no test\.jsonl"):
        open_data(str(tmp_path))


def test_tuning_needs_samples(task, films, tmp_path):
    derived = task.manifest.derive(open_data(str(films.logs)), task.manifest.config(), 0)
    write_samples(tmp_path / "test.jsonl", derived["test"])
    with pytest.raises(DataError, match="there are no train samples to tune with; --shots 0 evaluates"):
        start(task, films, tmp_path, tmp_path / "run")


def test_a_task_of_scored_rows_does_not_take_sample_files(films, tmp_path):
    (tmp_path / "test.jsonl").write_text("{}\n")
    ctr = load_task("ctr")
    config = resolve(ctr.manifest, [{"task": "ctr", "data": str(tmp_path)}], open_data(str(tmp_path)).domain)
    with pytest.raises(ConfigError, match="derives its rows from logs"):
        choose_rows(ctr, config, open_data(str(tmp_path)))


def test_a_pack_is_evaluated_as_the_run_was(task, films, tmp_path):
    from m6rec_core.assemble import load_pack
    from m6rec_core.backbone.load import load_backbone
    from m6rec_core.model import M6Rec

    outcome = start(task, films, films.logs, tmp_path / "run")
    backbone = load_backbone(str(films.backbone), dtype=torch.float32)
    assembled, manifest = load_pack(tmp_path / "run/pack", backbone, lambda _name: task)
    model = M6Rec(backbone, {"word": assembled.tuned}).eval()
    opened = Opened(task, manifest, backbone, assembled, model, backbone.embedding.device)
    report, used, of = report_pack(opened, open_data(str(films.logs)), "test", None, shown=False)
    assert (used, of) == (20, 20)
    assert report.metrics["loss"] == pytest.approx(outcome.metrics["report"]["loss"], rel=1e-4)
