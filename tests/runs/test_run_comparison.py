"""The table: the same rows for everyone, leads with the right sign, and a file from which it can be made again."""

from __future__ import annotations

import math
import sys

import numpy as np
import pandas as pd
import pytest

from m6rec_core.errors import DataError
from m6rec_core.metrics import Interval
from m6rec_core.runs.compare import Contender, compare
from m6rec_core.runs.predictions import compare_predictions, write_predictions
from m6rec_core.runs.report import cell, header, plain_table, plot_curve, print_table, table_rows
from m6rec_core.training.history import History

ROWS = 200
METRICS = ("auc", "gauc", "log_loss")


@pytest.fixture
def rows():
    chance = np.random.default_rng(0)
    label = chance.integers(0, 2, ROWS).astype(float)
    user = chance.integers(0, 12, ROWS)
    cold = chance.random(ROWS) < 0.3
    good = 1 / (1 + np.exp(-(2 * label - 1 + chance.normal(size=ROWS))))
    bad = chance.random(ROWS)
    contenders = [Contender("model", good, good, {}), Contender("noise", bad, np.full(ROWS, 0.5), {"rows": 3})]
    return label, user, cold, contenders


def test_slices_counts_and_leads(rows):
    label, user, cold, contenders = rows
    found = compare(contenders[0], contenders[1:], label, user, cold, METRICS, 50)
    assert found.counts["all"] == (ROWS, int(label.sum()))
    assert found.counts["warm"][0] + found.counts["cold"][0] == ROWS
    assert found.counts["cold"][0] == int(cold.sum())
    model, noise = found.lines
    assert model.lead is None
    difference = model.slices["all"]["auc"].value - noise.slices["all"]["auc"].value
    assert noise.lead.value == pytest.approx(difference)
    assert noise.lead.low > 0


def test_a_lead_in_a_loss_is_positive_for_the_better(rows):
    label, user, cold, contenders = rows
    found = compare(contenders[0], contenders[1:], label, user, cold, ("log_loss",), 50)
    assert found.lines[1].lead.value > 0


def test_a_slice_without_rows_is_left_out_and_printed_as_such(rows):
    label, user, _, contenders = rows
    found = compare(contenders[0], contenders[1:], label, user, np.zeros(ROWS, bool), METRICS, 50)
    assert "cold" not in found.lines[0].slices
    assert header(found)[4:6] == ["AUC, 200 warm rows", "AUC, 0 cold rows"]
    assert table_rows(found)[0][5] == "n/a"


def test_the_file_makes_the_table_again(rows, tmp_path):
    label, user, cold, contenders = rows
    first = compare(contenders[0], contenders[1:], label, user, cold, METRICS, 50)
    names = [f"user {code}" for code in user]
    frame = pd.DataFrame({"user_id": names, "label": label.astype(bool), "cold": cold})
    path = tmp_path / "predictions.parquet"
    write_predictions(path, frame, contenders, "toy", METRICS, 50)
    assert list(pd.read_parquet(path).columns) == ["user_id", "label", "cold", "model", "noise", "noise (score)"]
    card, again = compare_predictions(path)
    assert (card.task, card.resamples) == ("toy", 50)
    assert again.counts == first.counts
    for one, two in zip(first.lines, again.lines, strict=True):
        assert one.name == two.name
        for part, values in one.slices.items():
            for metric, interval in values.items():
                assert two.slices[part][metric].value == pytest.approx(interval.value, abs=1e-12)
                assert two.slices[part][metric].low == pytest.approx(interval.low, abs=1e-12)


def test_a_spoilt_file_is_refused(rows, tmp_path):
    label, user, cold, contenders = rows
    frame = pd.DataFrame({"user_id": user.astype(str), "label": label, "cold": cold})
    path = tmp_path / "predictions.parquet"
    broken = Contender("model", np.r_[np.nan, contenders[0].score[1:]], contenders[0].probability, {})
    write_predictions(path, frame, [broken], "toy", METRICS, 50)
    with pytest.raises(DataError, match=r"row 1, field 'model \(score\)': is not a finite number"):
        compare_predictions(path)
    write_predictions(path, frame, contenders, "toy", ("ndcg",), 50)
    with pytest.raises(DataError, match="metric 'ndcg' is unknown"):
        compare_predictions(path)
    write_predictions(path, frame.drop(columns="cold"), contenders, "toy", METRICS, 50)
    with pytest.raises(DataError, match="field 'cold': the column is missing"):
        compare_predictions(path)


@pytest.mark.parametrize(
    ("interval", "signed", "text"),
    [
        (Interval(0.7512, 0.7, 0.8, 100), False, ".751 [.700, .800]"),
        (Interval(-0.02, -0.1, 0.0604, 100), True, "-.020 [-.100, +.060]"),
        (Interval(1.0, 0.999, 1.25, 100), False, "1.000 [.999, 1.250]"),
        (Interval(0.9996, 0.5, 1.0, 100), False, "1.000 [.500, 1.000]"),
        (Interval(math.nan, math.nan, math.nan, 100), False, "n/a"),
        (None, False, "n/a"),
    ],
)
def test_cells(interval, signed, text):
    assert cell(interval, signed) == text


def test_a_table_on_a_terminal(capsys, monkeypatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    print_table(["model", "AUC"], [["a [b]", ".5 [.4, .6]"]], "95 % intervals")
    shown = capsys.readouterr().out
    assert "a [b]" in shown
    assert ".5 [.4, .6]" in shown
    assert "95 % intervals" in shown


def test_plain_columns(capsys):
    print_table(["model", "AUC"], [["a", ".5"], ["longer", ".75"]], "title")
    assert capsys.readouterr().out == "model   AUC\na       .5\nlonger  .75\n"
    assert plain_table(["a"], []) == "a"


def test_the_curve_is_drawn_with_gaps_and_references(tmp_path):
    history = History(tmp_path / "history.jsonl", None)
    history.write({"step": 0, "valid": {"auc": 0.5}})
    for step in range(1, 45):
        row = {"step": step, "loss": 1 / step}
        history.write({**row, "valid": {"auc": None if step == 20 else 0.6}} if step % 10 == 0 else row)
    plot_curve(history.path, tmp_path / "curve.png", {"item-mean": 0.61, "undefined": math.nan}, "auc")
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")
    plot_curve(history.path, tmp_path / "bare.png", {}, "log_loss")
    assert (tmp_path / "bare.png").stat().st_size > 1000
