"""How far a long encoding is, said on standard error beside what a command prints."""

from __future__ import annotations

import time
from collections.abc import Callable

import click

Say = Callable[[str], None]


class Told:
    """Says after each part how many of how many are encoded, at which rate, and how long the rest takes."""

    def __init__(self, noun: str, total: int | None, say: Say) -> None:
        """`total` None: not known yet."""
        self._noun, self._total, self._say = noun, total, say
        self._done, self._began = 0, time.monotonic()

    def __call__(self, count: int) -> None:
        """`count` more are done."""
        self._done += count
        rate = self._done / max(time.monotonic() - self._began, 1e-9)
        line = f"encoding {self._noun}: {self._done:,}"
        if self._total is not None:
            line += f" of {self._total:,}"
        line += f", {rate:,.0f}/s"
        if self._total is not None:
            line += f", {(self._total - self._done) / max(rate, 1e-9):,.0f} s left"
        self._say(line)


def say_on_stderr(line: str) -> None:
    """Tell a person how far it is, beside what a command prints."""
    click.echo(line, err=True)
