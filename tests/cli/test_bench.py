"""`m6rec bench modes` on a tiny backbone and small logs."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest

from m6rec_core.cli import main
from m6rec_core.runs.modes import ALL_MODES, FIGURE, TABLE

STEPS = 4


@pytest.fixture
def bench(films, capsys):
    """Call `m6rec bench modes` with small settings; returns exit code, standard output, standard error."""

    def call(output, *more):
        given = films.command(output)
        settings = [part for name, value in pairwise(given) if name == "--set" for part in (name, value)]
        small = ["--set", "shots=80", "--set", "evaluation.rows=20", "--set", "evaluation.valid_rows=40"]
        arguments = ["bench", "modes", "--data", films.logs, "--backbone", films.backbone, "--output", output]
        with pytest.raises(SystemExit) as done:
            main([str(one) for one in (*arguments, "--steps", STEPS, *settings, *small, *more)])
        shown = capsys.readouterr()
        return done.value.code, shown.out, shown.err

    return call


def test_five_modes_at_equal_steps(bench, tmp_path):
    output = tmp_path / "modes"
    code, out, err = bench(output, "--set", "training.patience=1", "--set", "training.evaluations=2")
    assert code == 0, err
    found = json.loads((output / TABLE).read_text())
    assert found["metric"] == "auc"
    assert [one["mode"] for one in found["modes"]] == list(ALL_MODES)
    for one in found["modes"]:
        assert [step for step, _ in one["valid"]] == [0, 2, 4], "nothing stops early"
        assert [step for step, _ in one["loss"]] == [1, 2, 3, 4]
        assert all(0 <= value <= 1 for _, value in one["valid"])
        assert f"{one['mode']}: {one['parameters']:,} parameters, seed 0" in err
    by_mode = {one["mode"]: one for one in found["modes"]}
    assert all(one["share"] <= 0.9 for mode, one in by_mode.items() if mode != "fine-tuning")
    assert by_mode["fine-tuning"]["share"] > 1, "the whole backbone and the head"
    assert by_mode["option-adapter"]["parameters"] > by_mode["option"]["parameters"]
    # Prompts, options and zero adapters are the same start for both; the classifier of "adapter" is another one.
    assert by_mode["option"]["valid"][0] == pytest.approx(by_mode["option-adapter"]["valid"][0])
    assert (output / FIGURE).read_bytes().startswith(b"\x89PNG")
    assert f"picture: {output / FIGURE}" in out
    assert all(mode in out for mode in ALL_MODES)
    assert not list(output.rglob("checkpoints"))

    code, _, err = bench(output)
    assert code == 2
    assert err.count("\n") == 1
    assert "choose another --output" in err


def test_modes_that_were_asked_for_as_json(bench, tmp_path):
    code, out, _ = bench(tmp_path / "two", "--mode", "option", "--mode", "prompt", "--json")
    assert code == 0
    assert [one["mode"] for one in json.loads(out)["modes"]] == ["prompt", "option"], "in the order of the paper"


def test_seeds_and_learning_rates_by_mode(bench, tmp_path):
    output = tmp_path / "seeds"
    options = ("--mode", "option", "--mode", "prompt", "--seeds", "3,1", "--lr", "option=0.02")
    code, out, err = bench(output, *options, "--steps", "2")
    assert code == 0, err
    found = json.loads((output / TABLE).read_text())["modes"]
    assert [(one["mode"], one["seed"], one["lr"]) for one in found] == [
        ("prompt", 3, 0.01), ("prompt", 1, 0.01), ("option", 3, 0.02), ("option", 1, 0.02)
    ]  # fmt: skip
    assert (output / "option-3" / "history.jsonl").is_file()
    for one in found:
        low, high = one["interval"]
        assert 0 <= low <= max(value for _, value in one["valid"]) <= high <= 1
    assert " to " in out
    assert "95 % of the rows" in out


def test_the_budget_of_every_mode_is_checked_first(bench, tmp_path):
    code, out, err = bench(tmp_path / "none", "--set", "tuning.budget=0.01")
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert "tuning.budget" in err
    assert "the same holds for adapter" in err
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (("--seeds", "0,one"), "--seeds '0,one': write different whole numbers"),
        (("--seeds", "1,1"), "--seeds '1,1': write different whole numbers"),
        (("--lr", "optoin=1"), "--lr 'optoin': there is no such tuning mode"),
        (("--lr", "option=fast"), "--lr 'option=fast': write a mode and a number above 0"),
        (("--lr", "option=nan"), "--lr 'option=nan': write a mode and a number above 0"),
    ],
)
def test_wrong_seeds_and_rates_are_one_line(bench, tmp_path, option, message):
    code, out, err = bench(tmp_path / "none", *option)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert message in err


def test_an_unknown_mode_is_one_line(bench, tmp_path):
    code, out, err = bench(tmp_path / "none", "--mode", "optoin")
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert "'optoin'" in err
    assert "option-adapter" in err
    assert not (tmp_path / "none").exists()
