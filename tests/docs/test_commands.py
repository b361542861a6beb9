"""Every `$ m6rec ...` line in the documents is a command that exists, with options and settings that exist."""

import re
import shlex
from pathlib import Path

import click
import pytest
from pydantic import BaseModel

from m6rec_core.cli import commands
from m6rec_core.config import RunConfig
from m6rec_core.errors import RegistryError
from m6rec_core.registry import load_task

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), *sorted((ROOT / "plugins").glob("*/README.md"))]
FENCE = re.compile(r"^```console\n(.*?)^```", re.MULTILINE | re.DOTALL)


def lines_of(text: str) -> list[str]:
    """The m6rec commands of a page, lines that end in a backslash joined."""
    blocks = [block.replace("\\\n", " ") for block in FENCE.findall(text)]
    return [line[2:].strip() for block in blocks for line in block.splitlines() if line.startswith("$ m6rec")]


COMMANDS = [
    pytest.param(line, id=f"{page.relative_to(ROOT)}:{number}")
    for page in PAGES
    for number, line in enumerate(lines_of(page.read_text()))
]


def parse(line: str) -> dict[str, object]:
    """Parse a command line without running it: option names, numbers of arguments, and choices are checked."""
    command: click.Command = commands
    context = click.Context(command, info_name="m6rec")
    arguments = shlex.split(line, comments=True)[1:]
    while isinstance(command, click.Group):
        _, arguments, _ = command.make_parser(context).parse_args(arguments)
        name, found, arguments = command.resolve_command(context, arguments)
        assert found is not None, f"no command {name}"
        command = found
        context = click.Context(command, info_name=name, parent=context)
    values, rest, _ = command.make_parser(context).parse_args(arguments)
    assert not rest, f"unexpected arguments {rest}"
    for parameter in command.params:
        value = values.get(parameter.name)
        if isinstance(parameter.type, click.Choice) and isinstance(value, str):
            parameter.type.convert(value, parameter, context)
        if isinstance(parameter, click.Argument) and parameter.required:
            assert value, f"{parameter.name} is missing"
    return values


def setting_exists(key: str, task: str | None) -> bool:
    """Whether `a.b.c` is a field of the run's configuration, with the task's own settings under `settings`."""
    model: type[BaseModel] | None = RunConfig
    for part in key.split("."):
        if model is None or part not in model.model_fields:
            return False
        annotation = model.model_fields[part].annotation
        if model is RunConfig and part == "settings" and task:
            annotation = load_task(task).manifest.config
        model = annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None
    return True


def test_there_are_commands_to_check():
    assert len(COMMANDS) >= 5


@pytest.mark.parametrize("line", COMMANDS)
def test_command_parses(line):
    try:
        values = parse(line)
    except click.UsageError as error:
        pytest.fail(f"{line}: {error.format_message()}")
    given = values.get("settings") or values.get("set") or values.get("assignments") or ()
    task = values.get("task") or values.get("task_name")
    try:
        unknown = [
            s for s in given if not setting_exists(str(s).split("=", 1)[0], task if isinstance(task, str) else None)
        ]
    except RegistryError as error:
        pytest.skip(f"settings not checked: {error}")
    assert not unknown, f"{line}: no such settings {unknown}"


@pytest.mark.parametrize("line", ["m6rec run --taks ctr", "m6rec rnu", "m6rec run --task ctr --shots", "m6rec tasks x"])
def test_a_wrong_command_is_noticed(line):
    with pytest.raises((click.UsageError, AssertionError)):
        parse(line)


@pytest.mark.parametrize("key", ["evaluation.row", "trainings.lr", "training.lr.x"])
def test_a_wrong_setting_is_noticed(key):
    assert not setting_exists(key, None)
    assert setting_exists("training.lr", None)


def test_the_readme_has_the_two_lines_that_ci_runs():
    lines = [
        line for line in (ROOT / "README.md").read_text().splitlines() if line.startswith("python -m venv .venv && ")
    ]
    assert [re.findall(r"\.venv/bin/(\w+)", line)[-1] for line in lines] == ["m6rec", "tox"]
    assert all("-c constraints.txt" in line for line in lines)
    assert lines[0].endswith(".venv/bin/m6rec run --task ctr"), "the main job takes no other argument"
