"""An empty subclass is all a plugin author writes; the clauses fail by themselves when something is wrong."""

from __future__ import annotations

import inspect
import subprocess
import sys

import pytest

import m6rec_core.testing
from m6rec_core.testing.case import fields_match, numbers_of
from m6rec_core.testing.clauses import CLAUSES
from m6rec_core.testing.conformance import TaskConformance as Kit
from m6rec_core.types import Prediction


class Score(Prediction):
    score: float
    parts: tuple[float, ...] = ()


def test_every_clause_is_a_numbered_test():
    tests = [name for name, _ in inspect.getmembers(Kit, inspect.isfunction) if name.startswith("test_")]
    assert tests == [f"test_{number:02d}_{clause.__name__}" for number, clause in CLAUSES.items()]
    assert all(clause.__doc__.startswith(f"Clause {number}:") for number, clause in CLAUSES.items())


def test_the_kit_is_exported_lazily():
    assert m6rec_core.testing.TaskConformance is Kit
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = m6rec_core.testing.Nothing
    code = "import sys, m6rec_core.testing; sys.exit('pytest' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_fields_match_within_a_relative_tolerance():
    one, near = Score(id="a", score=100.0, parts=(1.0, 2.0)), Score(id="a", score=100.0001, parts=(1.0, 2.000001))
    assert fields_match(one, near, 1e-5)
    assert not fields_match(one, near, 0.0)
    assert not fields_match(one, near.model_copy(update={"id": "b"}), 1e-5)
    assert not fields_match({"a": 1.0}, {"b": 1.0}, 1.0)
    assert not fields_match((1.0,), (1.0, 1.0), 1.0)
    assert not fields_match(float("nan"), 1.0, 1.0)


def test_numbers_of_finds_floats_with_their_paths():
    found = dict(numbers_of(Score(id="3", score=0.5, parts=(1.0, float("inf")))))
    assert found == {("score",): 0.5, ("parts", "0"): 1.0}
