import json

import pytest

from m6rec_core.cli import main


def run(capsys, *arguments):
    with pytest.raises(SystemExit) as done:
        main(arguments)
    shown = capsys.readouterr()
    return done.value.code, shown.out, shown.err


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("M6REC_HOME", str(tmp_path / "home"))
    (tmp_path / "items.csv").write_text("item_id,title\na,A\n")
    (tmp_path / "events.csv").write_text("user_id,item_id,timestamp\nu,a,1\n" + "u,b,2\n" * 12)
    return tmp_path


def test_check_lists_problems_and_exits_with_2(folder, capsys):
    code, out, err = run(capsys, "data", "check", str(folder))
    assert code == 2
    assert out.count("wrong: events.csv, row") == 10
    assert "wrong: events.csv: 2 more of this kind" in out
    assert "12 problems" in out
    assert err == ""


def test_check_for_machines(folder, capsys):
    code, out, _ = run(capsys, "data", "check", str(folder), "--json")
    report = json.loads(out)
    assert code == 2
    assert (report["ok"], report["problem_count"], report["rows"]["events.csv"]) == (False, 12, 13)
    (folder / "events.csv").write_text("user_id,item_id,timestamp\nu,a,1\n")
    code, out, _ = run(capsys, "data", "check", str(folder), "--json")
    assert code == 0
    assert json.loads(out)["ok"] is True


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("data", "check", "no-such-folder"), "there is no such folder"),
        (("data", "prepare", "ml-10k"), "did you mean 'ml-100k'"),
        (("assets", "fetch", "smollm"), "no asset is called 'smollm'"),
        (("assets", "fetch"), "name at least one asset"),
    ],
)
def test_mistakes_are_one_line_and_exit_with_2(folder, capsys, arguments, message):
    code, out, err = run(capsys, *arguments)
    assert (code, out) == (2, "")
    assert message in err
    assert len(err.strip().splitlines()) == 1


def test_assets_are_listed_without_fetching(folder, capsys):
    code, out, _ = run(capsys, "assets", "list", "--json")
    assert code == 0
    listed = {entry["name"]: entry["folder"] for entry in json.loads(out)}
    assert set(listed) >= {"smollm2-135m", "ml-100k", "ml-1m"}  # and what installed plugins offer
    assert set(listed.values()) == {None}
    code, out, _ = run(capsys, "assets", "list")
    assert "not fetched" in out
    assert "Apache-2.0" in out
