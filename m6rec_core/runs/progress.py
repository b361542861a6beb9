"""A counted progress bar for work that is not training: rate and time left on a terminal, a few lines when piped."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def counting(title: str, total: int, shown: bool = True) -> Iterator[Callable[[int], None]]:
    """Give a function to call with the number of finished items; draws on standard error."""
    if not shown:
        yield lambda _count: None
    elif sys.stderr.isatty():
        yield from _bar(title, total)
    else:
        yield from _lines(title, total)


def _bar(title: str, total: int) -> Iterator[Callable[[int], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn(title),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.speed:.0f}/s"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(title, total=total, speed=0.0)
        start = time.monotonic()

        def tick(count: int) -> None:
            progress.advance(task, count)

        del start
        yield tick


def _lines(title: str, total: int) -> Iterator[Callable[[int], None]]:
    start = time.monotonic()
    done, told = 0, 0.0

    def tick(count: int) -> None:
        nonlocal done, told
        done += count
        share = done / max(total, 1)
        if share >= told + 0.25 or done == total:
            told = share
            seconds = max(time.monotonic() - start, 1e-9)
            left = (total - done) * seconds / done
            print(
                f"{title}: {done:,} of {total:,}, {done / seconds:.0f}/s, {left:.0f} s left",
                file=sys.stderr,
                flush=True,
            )

    yield tick
