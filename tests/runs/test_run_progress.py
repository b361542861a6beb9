"""Counting progress, piped and on a terminal."""

from __future__ import annotations

import sys

import pytest

from m6rec_core.runs.progress import counting


def test_lines_end_at_the_total(capsys):
    with counting("scoring", 10) as tick:
        for _ in range(10):
            tick(1)
    lines = capsys.readouterr().err.splitlines()
    assert 3 <= len(lines) <= 5
    assert lines[-1].startswith("scoring: 10 of 10, ")
    assert "left" in lines[0]


def test_silence_where_nothing_is_shown(capsys):
    with counting("scoring", 10, shown=False) as tick:
        tick(10)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("total", [0, 3])
def test_a_bar_shows_a_rate(capsys, monkeypatch, total):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("FORCE_COLOR", "1")
    with counting("scoring", total) as tick:
        for _ in range(total):
            tick(1)
    shown = capsys.readouterr().err
    assert "scoring" in shown
    assert f"{total}/{total}" in shown
