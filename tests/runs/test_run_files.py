"""Where a run writes, and that a file is whole or not there."""

from __future__ import annotations

import json
import math

import pytest

from m6rec_core.errors import RunError
from m6rec_core.runs.files import CONFIG, METRICS, choose_output, write_json


def make(folder, *names):
    folder.mkdir(parents=True)
    for name in names:
        (folder / name).write_text("{}")
    return folder


def test_numbers_go_on_from_the_highest(tmp_path):
    assert choose_output(None, "ctr-a", False, tmp_path) == tmp_path / "ctr-a-1"
    make(tmp_path / "ctr-a-3", CONFIG, METRICS)
    make(tmp_path / "ctr-a-notes")
    make(tmp_path / "ctr-ab-9")
    assert choose_output(None, "ctr-a", False, tmp_path) == tmp_path / "ctr-a-4"


def test_resume_takes_the_newest_unfinished_run(tmp_path):
    make(tmp_path / "ctr-a-2", CONFIG)
    make(tmp_path / "ctr-a-10", CONFIG)
    make(tmp_path / "ctr-a-11", CONFIG, METRICS)
    make(tmp_path / "ctr-b-12", CONFIG)
    assert choose_output(None, "ctr-a", True, tmp_path) == tmp_path / "ctr-a-10"
    with pytest.raises(RunError, match="no unfinished run"):
        choose_output(None, "ctr-c", True, tmp_path)


def test_a_folder_that_was_asked_for(tmp_path):
    unfinished = make(tmp_path / "open", CONFIG)
    assert choose_output(unfinished, "x", True) == unfinished
    assert choose_output(make(tmp_path / "empty"), "x", False) == tmp_path / "empty"
    assert choose_output(tmp_path / "new", "x", True) == tmp_path / "new"
    with pytest.raises(RunError, match="go on with --resume"):
        choose_output(unfinished, "x", False)


def test_json_has_no_infinities(tmp_path):
    write_json(tmp_path / "x.json", {"a": [math.nan, 1.5, (math.inf,)], "b": None})
    assert json.loads((tmp_path / "x.json").read_text()) == {"a": [None, 1.5, [None]], "b": None}
