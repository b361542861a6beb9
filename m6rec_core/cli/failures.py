"""What the user reads when something fails: one line, and an exit code that tells whose turn it is."""

from __future__ import annotations

import errno
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from pathlib import Path

import click

from m6rec_core.errors import M6RecError

CURABLE = 2
INTERNAL = 1
INTERRUPTED = 130
PIPE_CLOSED = 1
"""As click does where it notices first."""
ERROR_FOLDER = "M6REC_ERROR_FOLDER"
"""Set by the launcher for its processes: they leave their line in this folder, so that it is printed once."""


def tell(error: BaseException) -> int:
    """Print `error` for a user and return the exit code (see `main`)."""
    if isinstance(error, click.exceptions.Exit):
        return error.exit_code
    if isinstance(error, (KeyboardInterrupt, click.Abort)):
        hint = str(error) or str(error.__cause__ or "")  # click makes an Abort of the interruption
        _say(f"interrupted: {hint}" if hint else "interrupted", INTERRUPTED)
        return INTERRUPTED
    if isinstance(error, BrokenPipeError):
        # What is still buffered would raise again while the interpreter shuts down.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return PIPE_CLOSED
    if isinstance(error, click.ClickException) and type(error).__name__ == "NoArgsIsHelpError":
        error.show()
        return CURABLE
    line = _curable(error)
    if line:
        _say(f"error: {line}", CURABLE)
        return CURABLE
    _say(f"internal error: {_describe(error)}; {_keep_traceback(error)}", INTERNAL)
    return INTERNAL


def _curable(error: BaseException) -> str:
    """The line for a failure the user can cure, or ""."""
    if isinstance(error, M6RecError):
        return " ".join(str(error).split())
    if isinstance(error, click.UsageError):
        path = error.ctx.command_path if error.ctx else "m6rec"
        said = " ".join(error.format_message().split())
        return f"{said if said.endswith(('.', '?', ')')) else said + '.'} See `{path} --help`."
    if isinstance(error, click.ClickException):
        return " ".join(error.format_message().split())
    return _of_the_system(error)


def _of_the_system(error: BaseException) -> str:
    """The line for a full disk, a missing right or an impossible path, or ""."""
    for cause in _chain(error):
        name = getattr(cause, "filename", None)
        if getattr(cause, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or "No space left on device" in str(cause):
            place = f" for {name}" if name else ""
            return f"the disk is full{place}: free some space, or choose another place with --output or M6REC_HOME"
    if isinstance(error, OSError) and error.filename:
        if isinstance(error, PermissionError) or error.errno == errno.EROFS:
            return f"no permission to use {error.filename}: choose another place or change its permissions"
        if isinstance(error, NotADirectoryError):
            return f"{error.filename}: a part of this path is a file, not a folder; choose another place"
    return ""


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__ or current.__context__


def _describe(error: BaseException) -> str:
    notes = "".join(f" ({note})" for note in getattr(error, "__notes__", ()))
    return " ".join(f"{type(error).__name__}: {error}{notes}".split())


def _keep_traceback(error: BaseException) -> str:
    """Write the traceback to a file of its own, or print it under M6REC_DEBUG=1. Returns what to tell the user."""
    text = "".join(traceback.format_exception(error))
    if os.environ.get("M6REC_DEBUG") == "1":
        click.echo(text, err=True)
        return "please report it with the traceback above"
    try:
        path = _write(_home() / "crash", text)
    except (OSError, ImportError, M6RecError) as problem:
        return f"the traceback could not be kept ({problem}); run again with M6REC_DEBUG=1 to see it"
    return f"please report it with the traceback in {path}"


def _home() -> Path:
    from m6rec_core.assets import home

    return home()


def _write(folder: Path, text: str) -> Path:
    """Write `text` to a new file of `folder` that is complete as soon as it has its name."""
    folder.mkdir(parents=True, exist_ok=True)
    prefix = time.strftime("%Y%m%d-%H%M%S-")
    with tempfile.NamedTemporaryFile(
        "w", encoding="utf-8", dir=folder, prefix=prefix, suffix=".part", delete=False
    ) as file:
        file.write(text)
    return Path(file.name).replace(Path(file.name).with_suffix(".txt"))


def _say(line: str, code: int) -> None:
    folder = os.environ.get(ERROR_FOLDER)
    if folder and Path(folder).is_dir():
        (Path(folder) / f"{code}-{os.getpid()}.txt").write_text(line, encoding="utf-8")
        return
    click.echo(line, err=True)
