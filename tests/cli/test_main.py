"""The command's frame: help without imports, near names, and one line per failure with the right exit code."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import click
import pytest

import m6rec_core.cli
from m6rec_core import __version__
from m6rec_core.cli import COMMANDS, main
from m6rec_core.cli.failures import ERROR_FOLDER, tell
from m6rec_core.cli.groups import LazyGroup
from m6rec_core.errors import DataError

ROOT = Path(__file__).resolve().parents[2]
HEAVY = (
    "torch",
    "transformers",
    "pandas",
    "numpy",
    "rich",
    "accelerate",
    "sklearn",
    "pyarrow",
    "matplotlib",
    "pydantic",
)


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test leaves a traceback in the user's own folder."""
    monkeypatch.setenv("M6REC_HOME", str(tmp_path / "home"))


def run(*arguments: str, code: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    """`python -m m6rec_core *arguments`, or `python -c code *arguments`."""
    path = os.pathsep.join(part for part in (str(ROOT), os.environ.get("PYTHONPATH", "")) if part)
    command = [sys.executable, *(("-c", code) if code else ("-m", "m6rec_core")), *arguments]
    settings = {**os.environ, "PYTHONPATH": path, **environment}
    return subprocess.run(command, capture_output=True, text=True, env=settings, check=False, timeout=120)


def leave(arguments: list[str]) -> int:
    """The exit code of main."""
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert isinstance(caught.value.code, int)
    return caught.value.code


@pytest.mark.parametrize("arguments", [("--help",), (), ("tasks",), ("tasks", "--json"), ("--version",), ("tsks",)])
def test_light_commands_import_nothing_heavy(arguments: tuple[str, ...]) -> None:
    """So that they answer at once; time itself is no matter for a test."""
    code = (
        "import sys\nfrom m6rec_core.cli import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        f"print('HEAVY', [name for name in {HEAVY!r} if name in sys.modules])"
    )
    assert run(*arguments, code=code).stdout.splitlines()[-1] == "HEAVY []"


def test_help_lists_every_command_with_its_text(capsys: pytest.CaptureFixture[str]) -> None:
    assert leave(["--help"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    for name, (_, text) in COMMANDS.items():
        assert f"{name} {text}" in shown


def test_no_arguments_is_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert leave([]) == 0
    assert capsys.readouterr().out.startswith("Usage: m6rec")


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert leave(["--version"]) == 0
    assert capsys.readouterr().out == f"m6rec, version {__version__}\n"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_of_the_table_exists(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert leave([name, "--help"]) == 0
    assert f"Usage: m6rec {name}" in capsys.readouterr().out


def test_python_dash_m_is_the_command() -> None:
    done = run("--version")
    assert (done.returncode, done.stdout) == (0, f"m6rec, version {__version__}\n")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["tsks"], "error: No such command 'tsks'. Did you mean 'tasks'? See `m6rec --help`.\n"),
        (["qqqqq"], "error: No such command 'qqqqq'. See `m6rec --help`.\n"),
    ],
)
def test_misspelt_command(arguments: list[str], line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert leave(arguments) == 2
    assert capsys.readouterr().err == line


@pytest.mark.parametrize("arguments", [["tasks", "--jsn"], ["--verson"]])
def test_misspelt_option_is_one_line_with_the_near_name(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert leave(arguments) == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    assert message.startswith("error: No such option")
    assert ("--json" if arguments[-1] == "--jsn" else "--version") in message


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch):
    """Make `m6rec fail` raise what it is given."""

    def install(error: BaseException) -> None:
        @click.command()
        def fail() -> None:
            raise error

        monkeypatch.setattr(m6rec_core.cli, "_failing_command", fail, raising=False)
        table = {**COMMANDS, "fail": ("m6rec_core.cli:_failing_command", "")}
        group = LazyGroup("m6rec", table=table)
        monkeypatch.setattr(m6rec_core.cli, "commands", group)

    return install


def full_disk() -> OSError:
    return OSError(errno.ENOSPC, "No space left on device", "/data/out/pack")


def wrapped(error: BaseException) -> BaseException:
    outer = RuntimeError("could not save")
    outer.__cause__ = error
    return outer


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (DataError("events.csv row 3:\n  no item"), "error: events.csv row 3: no item\n"),
        (click.UsageError("--shots is not for --pack"), "error: --shots is not for --pack. See `m6rec fail --help`.\n"),
        (click.ClickException("no\nway"), "error: no way\n"),
        (full_disk(), "error: the disk is full for /data/out/pack: free some space, or choose another place"),
        (wrapped(full_disk()), "error: the disk is full for /data/out/pack"),
        (RuntimeError("I/O error: No space left on device (os error 28)"), "error: the disk is full: free some space"),
        (PermissionError(errno.EACCES, "denied", "/data/out"), "error: no permission to use /data/out: choose another"),
    ],
)
def test_what_a_user_can_cure_is_one_line_and_code_2(error, line, failing, capsys) -> None:
    failing(error)
    assert leave(["fail"]) == 2
    message = capsys.readouterr().err
    assert message.startswith(line)
    assert message.count("\n") == 1


def test_an_internal_error_is_one_line_and_its_traceback_a_file(failing, capsys, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("M6REC_HOME", str(tmp_path))
    monkeypatch.delenv("M6REC_DEBUG", raising=False)
    error = ZeroDivisionError("by\nzero")
    error.add_note("in hook decode of task ctr (m6rec-plugin-ctr 0.1.0)")
    failing(error)
    assert leave(["fail"]) == 1
    message = capsys.readouterr().err
    files = list((tmp_path / "crash").iterdir())
    assert len(files) == 1
    assert message == (
        "internal error: ZeroDivisionError: by zero (in hook decode of task ctr (m6rec-plugin-ctr 0.1.0)); "
        f"please report it with the traceback in {files[0]}\n"
    )
    text = files[0].read_text()
    assert text.startswith("Traceback (most recent call last)")
    assert "in hook decode" in text


def test_two_internal_errors_of_one_second_keep_both_tracebacks(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setenv("M6REC_HOME", str(tmp_path))
    monkeypatch.delenv("M6REC_DEBUG", raising=False)
    assert [tell(ValueError("one")), tell(ValueError("two"))] == [1, 1]
    assert len(list((tmp_path / "crash").iterdir())) == 2
    assert capsys.readouterr().err.count("\n") == 2


def test_debug_prints_the_traceback(failing, capsys, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("M6REC_HOME", str(tmp_path))
    monkeypatch.setenv("M6REC_DEBUG", "1")
    failing(ValueError("odd"))
    assert leave(["fail"]) == 1
    message = capsys.readouterr().err
    assert "Traceback (most recent call last)" in message
    assert message.splitlines()[-1].startswith("internal error: ValueError: odd; ")
    assert not (tmp_path / "crash").exists()


def test_an_unwritable_home_still_gives_one_line(failing, capsys, tmp_path, monkeypatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("M6REC_HOME", str(tmp_path / "file"))
    monkeypatch.delenv("M6REC_DEBUG", raising=False)
    failing(ValueError("odd"))
    assert leave(["fail"]) == 1
    message = capsys.readouterr().err
    assert message.startswith("internal error: ValueError: odd; the traceback could not be kept")
    assert message.count("\n") == 1


@pytest.mark.parametrize("error", [KeyboardInterrupt(), click.Abort()])
def test_interruption_is_130(error, failing, capsys) -> None:
    failing(error)
    assert leave(["fail"]) == 130
    assert capsys.readouterr().err.strip() == "interrupted"


def test_a_launched_process_leaves_its_line_to_the_launcher(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setenv(ERROR_FOLDER, str(tmp_path))
    assert tell(DataError("row 3")) == 2
    assert [path.read_text() for path in tmp_path.iterdir()] == ["error: row 3"]
    assert capsys.readouterr().err == ""


def test_a_reader_that_goes_away_is_no_error() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        command = [sys.executable, "-m", "m6rec_core", "--help"]
        done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True, cwd=ROOT, check=False)
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (1, "")
