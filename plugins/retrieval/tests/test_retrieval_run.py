"""A whole run on small logs, and the commands on its pack."""

from __future__ import annotations

import json

import pyarrow.parquet as pq
import pytest
from m6rec_plugin_retrieval.encoding import open_encoder

from m6rec_core.cli import main
from m6rec_core.logs import read_logs
from m6rec_core.logs.samples import catalogue


def call(capsys, *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as done:
        main([str(one) for one in arguments])
    told = capsys.readouterr()
    return int(done.value.code or 0), told.out, told.err


def test_a_run_reports_full_ranking_beside_baselines(retrieval_run):
    metrics = json.loads((retrieval_run / "metrics.json").read_text())
    report = metrics["report"]
    assert set(report) == {"m6rec", "random", "popularity"}
    other = report["m6rec"]["history left out"]["all"]
    assert other["HR@10"]["value"] >= report["m6rec"]["all"]["HR@10"]["value"], "fewer items compete"
    for model in report.values():
        assert 0.0 <= model["all"]["HR@10"]["low"] <= model["all"]["HR@10"]["value"] <= 1.0
        assert model["all"]["rows"] == 24
    assert 0 < report["m6rec"]["unseen"]["rows"] < 24
    assert report["popularity"]["unseen"]["HR@10"]["value"] == 0.0, "ids know nothing of unseen items"
    assert metrics["training"]["of"] == metrics["training"]["steps"] > 0
    rows = pq.read_table(retrieval_run / "predictions.parquet").to_pylist()
    assert len(rows) == 24
    assert all(1 <= row["rank m6rec"] <= 16 and len(row["top"]) == 10 for row in rows)


@pytest.mark.parametrize("user", ["events", "text"])
def test_a_run_without_steps(small, tmp_path, user):
    """What a first run does: the fit alone, each text computed once where users are events."""
    asked = ["training.max_steps=0", f"settings.user={user}", "settings.fit_epochs=2"]
    with pytest.raises(SystemExit) as done:
        main(small.run(tmp_path / "run", *asked))
    assert done.value.code == 0
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert metrics["training"]["of"] == 0
    assert metrics["report"]["m6rec"]["all"]["rows"] == 24
    tokens = metrics["protocol"]["rows"]["test"]["tokens"]
    assert 0 < tokens < (16 * 40 if user == "events" else 24 * 120)


def test_the_encoder_of_a_pack(retrieval_run, small):
    encoder = open_encoder(retrieval_run / "pack", str(small.backbone))
    items = catalogue(read_logs(small.logs))
    vectors = encoder.encode(items)
    assert vectors.shape == (16, encoder.width) == (16, 16)
    assert abs((vectors**2).sum(1) - 1).max() < 1e-5
    assert abs(vectors[5] - encoder.encode(items[5:6])[0]).max() < 1e-5
    assert encoder.texts(items[:1]) == ["Film 0 (1980), Drama"]
    assert len(encoder.pack_hash) == 64


def test_a_pack_that_reads_means(small, tmp_path, capsys):
    with pytest.raises(SystemExit) as done:
        main(small.run(tmp_path / "run", "settings.pooling=mean", "training.max_steps=0", "settings.fit_epochs=2"))
    assert done.value.code == 0
    capsys.readouterr()
    encoder = open_encoder(tmp_path / "run" / "pack", str(small.backbone))
    items = catalogue(read_logs(small.logs))
    vectors = encoder.encode(items)
    assert abs(vectors[5] - encoder.encode(items[5:6])[0]).max() < 1e-5
    given = ("explain-sample", "--task", "retrieval", "--pack", tmp_path / "run" / "pack", "--backbone", small.backbone)
    code, out, _ = call(capsys, *given, "--data", small.logs, "--json")
    assert code == 0
    tokens = json.loads(out)["rows"][-1]["tokens"]
    assert [t["role"] for t in tokens if t["kind"] == "text"] == ["averaged"] * (len(tokens) - 4 - 1) + ["read out"]
    assert {t["role"] for t in tokens if t["kind"] == "prompt"} == {""}


def test_retrieve(retrieval_run, small, capsys):
    given = ("retrieve", "--pack", retrieval_run / "pack", "--data", small.logs, "--backbone", small.backbone)
    code, out, _ = call(capsys, *given, "--user", "u1", "--user", "u99", "--k", "3", "--json")
    assert code == 0
    warm, cold = (json.loads(line) for line in out.splitlines())
    assert warm["by"] == "vectors"
    assert cold["by"] == "popularity"
    assert len(warm["items"]) == len(cold["items"]) == 3
    seen = {f"i{n}" for n in range(16) if n % 3 == 1}
    assert not seen & {item["item_id"] for item in warm["items"]}
    code, out, _ = call(capsys, *given, "--user", "u99", "--k", "2")
    assert code == 0
    assert "user u99 has no history: these are the most popular items" in out
    for more, line in [
        (("--user", "u1", "--k", "17"), "K is 17, but the catalogue has 16 items"),
        (("--user", "nobody"), "there is no user 'nobody'"),
        ((), "give either --user ID with --data, or --input FILE"),
    ]:
        code, _, err = call(capsys, *given, *more)
        assert code == 2
        assert line in err


def test_retrieve_from_an_index_and_a_file(retrieval_run, small, tmp_path, capsys):
    from m6rec_plugin_retrieval.index import ExactIndex, StoredIndex, save_index

    encoder = open_encoder(retrieval_run / "pack", str(small.backbone))
    items = catalogue(read_logs(small.logs))
    index = ExactIndex.of([item.item_id for item in items], encoder.encode(items))
    save_index(tmp_path / "films.index", StoredIndex(index, encoder.pack_hash))
    save_index(tmp_path / "other.index", StoredIndex(index, "0" * 64))
    users = tmp_path / "users.jsonl"
    event = {"item": {"item_id": "i1", "fields": {"title": "Film 1"}}, "kind": "rating", "timestamp": 0}
    users.write_text(json.dumps({"id": "someone", "history": [event]}) + "\n")
    given = ("retrieve", "--pack", retrieval_run / "pack", "--backbone", small.backbone, "--input", users, "--k", "4")
    code, out, _ = call(capsys, *given, "--index", tmp_path / "films.index", "--json")
    assert code == 0
    assert len(json.loads(out)["items"]) == 4
    code, _, err = call(capsys, *given, "--index", tmp_path / "other.index")
    assert code == 2
    assert "was built with task pack 000000000000" in err
    vectors = tmp_path / "films.index" / "vectors.npy"
    vectors.write_bytes(vectors.read_bytes()[:-1] + b"?")
    code, _, err = call(capsys, *given, "--index", tmp_path / "films.index")
    assert code == 2
    assert "vectors.npy is damaged" in err
    save_index(tmp_path / "films.index", StoredIndex(index, encoder.pack_hash), overwrite=True)
    users.write_text(json.dumps({"id": "new"}) + "\n")
    code, _, err = call(capsys, *given, "--index", tmp_path / "films.index")
    assert code == 2
    assert "user 'new' has no history, and without --data nothing is known of what is popular" in err


def test_two_stages(retrieval_run, small, tmp_path, capsys):
    pytest.importorskip("m6rec_plugin_ctr")
    logs = tmp_path / "logs"
    logs.mkdir()
    for name in ("items.csv", "users.csv", "dataset.json"):
        (logs / name).write_text((small.logs / name).read_text())
    lines = (small.logs / "events.csv").read_text().splitlines()
    mixed = [line[:-1] + ("2" if n % 3 == 1 else "5") for n, line in enumerate(lines[1:])]
    (logs / "events.csv").write_text("\n".join([lines[0], *mixed]) + "\n")
    settings = [
        "tuning.budget=0.9", "tuning.prompts=4", "training.max_steps=1", "training.precision=fp32",
        "training.pack_tokens=240", "evaluation.bootstrap=20", "evaluation.baselines=[random]",
        "settings.max_tokens=120", "evaluation.rows=10", "evaluation.valid_rows=null", "shots=60",
    ]  # fmt: skip
    chosen = [part for one in settings for part in ("--set", one)]
    ctr = ("run", "--task", "ctr", "--data", logs, "--backbone", small.backbone, "--output", tmp_path / "ctr", *chosen)
    assert call(capsys, *ctr)[0] == 0
    given = (
        "recommend", "--retrieval-pack", retrieval_run / "pack", "--ctr-pack", tmp_path / "ctr" / "pack",
        "--data", logs, "--backbone", small.backbone, "--user", "u1", "--k", "5",
    )  # fmt: skip
    code, out, err = call(capsys, *given, "--json")
    assert code == 0, err
    found = json.loads(out)
    scores = [item["ranking"] for item in found["items"]]
    assert len(scores) == 5
    assert scores == sorted(scores, reverse=True)
    code, out, _ = call(capsys, *given, "--show", "2")
    assert code == 0
    assert "ranking score" in out
    code, out, err = call(capsys, *(one if one != "u1" else "u99" for one in given))
    assert code == 0, err
    assert "user u99 has no history: the candidates are the most popular items" in out
    code, _, err = call(capsys, *(one if one != tmp_path / "ctr" / "pack" else retrieval_run / "pack" for one in given))
    assert code == 2
    assert "does not score candidates" in err


ITEMS, EVENTS = "item_id,title\n", "user_id,item_id,timestamp\n"


@pytest.mark.parametrize(
    ("items", "events", "line"),
    [
        (ITEMS, EVENTS, "items.csv: the table is empty"),
        (f"{ITEMS}a,x\na,y\n", f"{EVENTS}u,a,1\n", "items.csv, row 2, field 'item_id'"),
        (f"{ITEMS}a,x\nb, \nc,z\n", f"{EVENTS}u,a,1\nu,b,2\nu,c,3\n", "item 'b' has no text"),
        (f"{ITEMS}a,x\nb,y\n", f"{EVENTS}u,a,1\nu,b,2\n", "logs"),
    ],
    ids=["an empty catalogue", "an id twice", "no text", "too few events"],
)
def test_bad_logs_are_one_line_and_write_no_run(small, tmp_path, capsys, items, events, line):
    logs = tmp_path / "logs"
    logs.mkdir()
    (logs / "items.csv").write_text(items)
    (logs / "events.csv").write_text(events)
    (logs / "dataset.json").write_text('{"name": "bad", "domain": "movies"}')
    code, _, err = call(capsys, *(str(logs) if one == str(small.logs) else one for one in small.run(tmp_path / "run")))
    assert code == 2, err
    said = [row for row in err.splitlines() if row.startswith("error: ")]
    assert len(said) == 1
    assert line in said[0]
    assert not (tmp_path / "run" / "metrics.json").exists()


def test_a_pack_of_another_backbone_is_refused(retrieval_run, small, tmp_path, capsys):
    from m6rec_core.testing import tiny_backbone, tiny_tokenizer

    tiny_backbone(layers=2).decoder.save_pretrained(tmp_path / "other")
    tiny_tokenizer().save_pretrained(tmp_path / "other")
    given = ("retrieve", "--pack", retrieval_run / "pack", "--data", small.logs, "--user", "u1", "--backbone")
    code, _, err = call(capsys, *given, tmp_path / "other")
    assert code == 2
    assert "was tuned on backbone" in err
    assert len(err.strip().splitlines()) == 1
