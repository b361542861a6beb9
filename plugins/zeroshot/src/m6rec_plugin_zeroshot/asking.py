"""What the commands share: the task on a pack or on the bare backbone, and tables of text."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from pydantic import ValidationError

from m6rec_core.errors import ConfigError
from m6rec_core.text.domains import load_domain
from m6rec_plugin_zeroshot.settings import ZeroshotConfig

if TYPE_CHECKING:
    from m6rec_core.serving.opening import Opened

TASK = "zeroshot"
BACKBONE = "smollm2-135m"


def settings_of(domain: str, prompts: Sequence[str], normalise: str | None) -> ZeroshotConfig:
    """Settings from the options of a command. Raises ConfigError that names the option."""
    given: dict[str, Any] = {"domain": load_domain(domain)}
    if prompts:
        given["prompts"] = tuple(prompts)
    if normalise:
        given["normalise"] = normalise
    try:
        return ZeroshotConfig.model_validate(given)
    except ValidationError as error:
        first = error.errors()[0]
        raise ConfigError(f"--{'-'.join(map(str, first['loc']))}: {first['msg']}") from error


def open_task(pack: Path | None, backbone: str | None, precision: str | None, settings: ZeroshotConfig) -> Opened:
    """The task with a pack's tuning and settings, or untuned with `settings`. Raises PackError for another task's."""
    if pack is None:
        from m6rec_core.serving.untuned import open_untuned

        return open_untuned(TASK, settings, backbone or BACKBONE, precision or "auto", say)
    from m6rec_core.serving.opening import open_pack

    return open_pack(pack, backbone, precision, say, task=TASK)


def config_of(opened: Opened) -> ZeroshotConfig:
    """The task's settings as they are in use."""
    return cast(ZeroshotConfig, opened.settings)


def say(line: str) -> None:
    """Tell the user one line, on standard error."""
    import click

    click.echo(line, err=True)


def text_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table in plain text, columns left-aligned and two blanks apart."""
    lines = [list(columns), *map(list, rows)]
    widths = [max(len(line[place]) for line in lines) for place in range(len(columns))]
    return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)
