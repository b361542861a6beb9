from __future__ import annotations

import io

from m6rec_core.training.progress import (
    BarProgress,
    PlainProgress,
    SilentProgress,
    StepReport,
    clock,
    make_progress,
)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def report(step: int) -> StepReport:
    return StepReport(step, 200, 0.5, 1e-3, 123.4)


def test_pipes_get_about_one_line_in_twenty_steps() -> None:
    stream = io.StringIO()
    progress = make_progress(stream=stream)
    assert isinstance(progress, PlainProgress)
    progress.start(200, 0)
    for step in range(1, 201):
        progress.step(report(step))
    progress.finish()
    lines = stream.getvalue().splitlines()
    assert 20 <= len(lines) <= 22
    assert lines[0].startswith("step 1/200  loss 0.5000  lr 1.0e-03  123 samples/s  ")
    assert lines[-1].startswith("step 200/200")
    assert "\x1b" not in stream.getvalue()


def test_resumed_run_speaks_at_once() -> None:
    stream = io.StringIO()
    progress = PlainProgress(stream)
    progress.start(200, 150)
    progress.step(report(151))
    assert stream.getvalue().startswith("step 151/200")


def test_terminals_get_a_bar_with_notes_above_it() -> None:
    stream = Terminal()
    progress = make_progress(stream=stream)
    assert isinstance(progress, BarProgress)
    progress.start(200, 0)
    progress.step(report(100))
    progress.note("step 100: [auc] 0.7")
    progress.finish()
    assert "step 100: [auc] 0.7" in stream.getvalue()
    assert "100/200" in stream.getvalue()
    assert "loss 0.5000" in stream.getvalue()


def test_other_ranks_are_silent() -> None:
    assert isinstance(make_progress(main=False), SilentProgress)


def test_durations() -> None:
    assert [clock(seconds) for seconds in (0, 61, 3725)] == ["0:00", "1:01", "1:02:05"]
