"""What a run says on the way: lines, and counted progress with rate and time left (a few lines when piped)."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import ProgressColumn

Tick = Callable[[int], None]


def say_line(line: str) -> None:
    """Tell the user one line, on standard error."""
    print(line, file=sys.stderr, flush=True)


def silent(line: str) -> None:
    """Say nothing: another process than the main one, or a run for a machine."""


@contextmanager
def counting(title: str, total: int, shown: bool = True) -> Iterator[Tick]:
    """Give a function to call with the number of newly finished items; draws on standard error.

    `total` counts what this process will be told of: a rank of a group counts its own share.
    """
    if not shown:
        yield lambda _count: None
    elif sys.stderr.isatty():
        yield from _bar(title, total)
    else:
        yield from _lines(title, total)


def _bar(title: str, total: int) -> Iterator[Tick]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn(title), BarColumn(), MofNCompleteColumn(), _rate_column(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(title, total=total)
        yield lambda count: progress.advance(task, count)


def _rate_column() -> ProgressColumn:
    """Items per second; rich knows no rate before the second step."""
    from rich.progress import ProgressColumn, Task
    from rich.text import Text

    class Rate(ProgressColumn):
        def render(self, task: Task) -> Text:
            speed = task.finished_speed or task.speed
            return Text("" if speed is None else f"{speed:,.0f}/s")

    return Rate()


def _lines(title: str, total: int) -> Iterator[Tick]:
    start = time.monotonic()
    done, told = 0, 0.0

    def tick(count: int) -> None:
        nonlocal done, told
        done += count
        share = done / max(total, 1)
        if done and (share >= told + 0.25 or done == total):
            told = share
            seconds = max(time.monotonic() - start, 1e-9)
            left = f"{(total - done) * seconds / done:.0f} s left" if done < total else f"{seconds:.0f} s"
            print(f"{title}: {done:,} of {total:,}, {done / seconds:.0f}/s, {left}", file=sys.stderr, flush=True)

    yield tick
