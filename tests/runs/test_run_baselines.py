"""Which baselines a run compares with, and that another package's failure costs it nothing."""

from __future__ import annotations

import pytest
from m6rec_plugin_ctr.plugin import MANIFEST
from m6rec_plugin_ctr.sample import CtrSample
from m6rec_plugin_ctr.settings import CtrConfig

import m6rec_core.runs.baselines as stage
from m6rec_core.errors import ConfigError, DataError, RegistryError
from m6rec_core.logs import build_samples, read_logs
from m6rec_core.runs.baselines import baseline_names, run_baselines, valid_references
from m6rec_core.runs.data import RunRows


@pytest.fixture
def rows(films):
    table = build_samples(read_logs(films.logs), CtrConfig().sampling, CtrSample)
    return RunRows(table, table.splits)


class Failing:
    """A baseline that raises."""

    name = "din"

    def __init__(self, error: Exception) -> None:
        self._error = error

    def fit_predict(self, data, train, valid, test, seed):
        raise self._error


@pytest.mark.parametrize("error", [DataError("no events"), ValueError("two\nlines")])
def test_a_failing_baseline_is_told_and_left_out(rows, monkeypatch, error):
    monkeypatch.setattr(stage, "load_entry", lambda group, name: Failing(error))
    told: list[str] = []
    found = run_baselines(rows, ["item-mean", "din"], 0, told.append)
    assert [one.name for one in found] == ["item-mean"]
    assert len(told) == 1
    assert told[0].startswith("baseline din is left out: ")
    assert "\n" not in told[0]


def test_something_that_is_no_baseline_is_left_out(rows, monkeypatch):
    monkeypatch.setattr(stage, "load_entry", lambda group, name: 3)
    told: list[str] = []
    assert run_baselines(rows, ["din"], 0, told.append) == []
    assert "int has no fit_predict" in told[0]


def test_names(monkeypatch):
    monkeypatch.setattr(stage, "discover", lambda group: ())
    assert baseline_names(MANIFEST, None) == list(MANIFEST.baselines)
    assert baseline_names(MANIFEST, ["popularity"]) == ["popularity"]
    assert baseline_names(MANIFEST, []) == []
    with pytest.raises(ConfigError, match="there is no baseline 'popular'"):
        baseline_names(MANIFEST, ["popular"])


def test_references_are_of_the_valid_rows(rows):
    found = valid_references(rows, MANIFEST, 0)
    assert list(found) == [name for name in MANIFEST.baselines if name != "random"]
    assert all(0 <= value <= 1 for value in found.values())
    assert found["item-mean"] > 0.55
    with pytest.raises(RegistryError):
        stage._load("no-such-baseline")
