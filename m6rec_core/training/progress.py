"""How training tells the user where it is: a bar on a terminal, a plain line now and then when the output is piped."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TextIO

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


@dataclass(frozen=True, slots=True)
class StepReport:
    """One finished step: `step` of `total`, its loss, learning rate and samples per second."""

    step: int
    total: int
    loss: float
    lr: float
    samples_per_second: float


class ProgressSink(Protocol):
    """What the loop calls, on the main process only (the other ranks get `SilentProgress`)."""

    def start(self, total: int, done: int) -> None:
        """Training of `total` steps begins; `done` of them were done before a resume."""

    def step(self, report: StepReport) -> None:
        """A step has finished."""

    def note(self, text: str) -> None:
        """Something worth a line of its own: an evaluation, a checkpoint, an early stop."""

    def finish(self) -> None:
        """Training has ended, by itself or by an error. Called once."""


class SilentProgress:
    """Says nothing."""

    def start(self, total: int, done: int) -> None:
        """Ignore the start."""

    def step(self, report: StepReport) -> None:
        """Ignore a step."""

    def note(self, text: str) -> None:
        """Ignore a note."""

    def finish(self) -> None:
        """Ignore the end."""


class PlainProgress:
    """Plain lines, one about every `share` of the run, for logs and pipes."""

    def __init__(self, stream: TextIO, share: float = 0.05) -> None:
        """Write to `stream`; `share` in (0, 1] is how much of the run passes between two lines."""
        self._stream = stream
        self._share = share
        self._next = 0.0
        self._began = 0.0
        self._done = 0

    def start(self, total: int, done: int) -> None:
        """Remember where the run starts."""
        self._next = min(1, done + 1)
        self._began, self._done = time.monotonic(), done

    def step(self, report: StepReport) -> None:
        """Write a line when the next share of the run is over, and for the first and the last step."""
        if report.step < self._next and report.step != report.total:
            return
        self._next = report.step + max(1.0, self._share * report.total)
        rate = (report.step - self._done) / max(time.monotonic() - self._began, 1e-9)
        left = clock((report.total - report.step) / rate)
        self.note(f"step {report.step}/{report.total}  {describe(report)}  {left} left")

    def note(self, text: str) -> None:
        """Write a line."""
        print(text, file=self._stream, flush=True)

    def finish(self) -> None:
        """Nothing is left open."""


class BarProgress:
    """A bar of rich with rate, time left, loss and learning rate."""

    def __init__(self, stream: TextIO) -> None:
        """Draw on `stream`, a terminal."""
        self._stream = stream
        self._bar: Progress | None = None
        self._task: TaskID | None = None

    def start(self, total: int, done: int) -> None:
        """Draw the bar."""
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self._bar = Progress(
            TextColumn("training"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.description}"),
            console=Console(file=self._stream),
        )
        self._task = self._bar.add_task("", total=total, completed=done)
        self._bar.start()

    def step(self, report: StepReport) -> None:
        """Move the bar."""
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=report.step, description=describe(report))

    def note(self, text: str) -> None:
        """Write a line above the bar."""
        if self._bar is None:
            print(text, file=self._stream, flush=True)
        else:
            self._bar.console.print(text, markup=False, highlight=False)

    def finish(self) -> None:
        """Leave the bar as it stands."""
        if self._bar is not None:
            self._bar.stop()


def describe(report: StepReport) -> str:
    """Return loss, learning rate and rate as text."""
    return f"loss {report.loss:.4f}  lr {report.lr:.1e}  {report.samples_per_second:,.0f} samples/s"


def clock(seconds: float) -> str:
    """Return a duration as m:ss, or h:mm:ss from an hour on."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def make_progress(main: bool = True, stream: TextIO | None = None) -> ProgressSink:
    """Return a bar for a terminal, plain lines for a pipe, silence on ranks that are not `main`. Default: stderr."""
    if not main:
        return SilentProgress()
    target = sys.stderr if stream is None else stream
    return BarProgress(target) if target.isatty() else PlainProgress(target)
