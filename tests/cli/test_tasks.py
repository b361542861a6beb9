"""`m6rec tasks` and the commands that plugins bring."""

import importlib
import json
import re
import sys

import pytest

from m6rec_core.cli import main

COMMAND = "import click\n\n\n@click.command()\ndef {name}():\n    click.echo('hello from {name}')\n"


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Write a fake distribution with one entry point into a folder on the import path."""
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in ("M6REC_PLUGINS", "M6REC_STRICT"):
        monkeypatch.delenv(name, raising=False)

    def add(distribution, group, name, value, source="", *, requires="m6rec-core>=0.1"):
        (tmp_path / f"{value.split(':')[0]}.py").write_text(source)
        info = tmp_path / f"{distribution.replace('-', '_')}-1.0.dist-info"
        info.mkdir()
        head = f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\nRequires-Dist: {requires}\n"
        (info / "METADATA").write_text(head)
        (info / "entry_points.txt").write_text(f"[{group}]\n{name} = {value}\n")
        importlib.invalidate_caches()

    yield add
    for name in [name for name in sys.modules if name.startswith("cli_fake_")]:
        del sys.modules[name]


def leave(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    captured = capsys.readouterr()
    return caught.value.code, captured.out, captured.err


def test_json_has_every_field(install, capsys):
    install("fake-one", "m6rec.tasks", "cli-alpha", "cli_fake_alpha", "raise OSError('never imported')")
    install("fake-two", "m6rec.tasks", "cli-beta", "cli_fake_beta", requires="m6rec-core>=9")
    code, out, _ = leave(["tasks", "--json"], capsys)
    found = {entry["name"]: entry for entry in json.loads(out) if entry["name"].startswith("cli-")}
    assert code == 0
    assert found["cli-alpha"] == {
        "name": "cli-alpha",
        "module": "cli_fake_alpha",
        "distribution": "fake-one",
        "version": "1.0",
        "state": "ready",
        "reason": "",
    }
    assert found["cli-beta"]["state"] == "incompatible"
    assert "cli_fake_alpha" not in sys.modules


def test_piped_table_is_plain_text(install, capsys):
    install("fake-one", "m6rec.tasks", "cli-alpha", "cli_fake_alpha")
    code, out, _ = leave(["tasks"], capsys)
    lines = out.splitlines()
    assert code == 0
    assert lines[0].split() == ["task", "distribution", "version", "state"]
    assert ["cli-alpha", "fake-one", "1.0", "ready"] in [line.split() for line in lines]
    assert out.isascii()


def test_terminal_table_has_the_same_content(install, capsys, monkeypatch):
    install("fake-one", "m6rec.tasks", "cli-alpha", "cli_fake_alpha")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "200")
    code, out, _ = leave(["tasks"], capsys)
    assert code == 0
    row = next(line for line in out.splitlines() if "cli-alpha" in line)
    assert all(part in row for part in ("fake-one", "1.0", "ready"))


def test_nothing_installed_says_what_to_install(capsys, monkeypatch):
    monkeypatch.setattr("m6rec_core.cli.tasks.discover", tuple)
    code, out, _ = leave(["tasks"], capsys)
    assert code == 0
    assert "pip install m6rec-plugin-NAME" in out


def test_a_plugin_brings_a_command_listed_without_importing(install, capsys):
    install("fake-one", "m6rec.commands", "greet", "cli_fake_greet:greet", COMMAND.format(name="greet"))
    code, out, _ = leave(["--help"], capsys)
    assert code == 0
    assert re.search(r"greet +from fake-one", out)
    assert "cli_fake_greet" not in sys.modules
    assert leave(["greet"], capsys)[:2] == (0, "hello from greet\n")


def test_a_misspelt_plugin_command_gets_the_near_name(install, capsys):
    install("fake-one", "m6rec.commands", "greet", "cli_fake_greet:greet", COMMAND.format(name="greet"))
    code, _, err = leave(["gret"], capsys)
    assert code == 2
    assert "Did you mean 'greet'?" in err


def test_two_plugins_with_one_command_are_refused_by_name(install, capsys):
    for number in ("one", "two"):
        install(f"fake-{number}", "m6rec.commands", "greet", f"cli_fake_{number}:greet", COMMAND.format(name="greet"))
    code, _, err = leave(["greet"], capsys)
    assert code == 2
    assert "fake-one and fake-two" in err
    assert err.count("\n") == 1
    assert leave(["tasks"], capsys)[0] == 0


def test_a_plugin_cannot_replace_a_command_of_the_core(install, capsys):
    install("fake-one", "m6rec.commands", "tasks", "cli_fake_tasks:tasks", COMMAND.format(name="tasks"))
    code, out, _ = leave(["tasks"], capsys)
    assert code == 0
    assert "hello" not in out
    assert "ignored, m6rec-core has a command" in " ".join(leave(["--help"], capsys)[1].split())


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("raise OSError('gone')", "fake-one 1.0 is broken: importing cli_fake_greet:greet failed with OSError: gone"),
        ("greet = 3", "plugin command 'greet' is a int, not a click command"),
    ],
)
def test_a_broken_command_is_one_line_and_help_still_works(install, capsys, source, expected):
    install("fake-one", "m6rec.commands", "greet", "cli_fake_greet:greet", source)
    code, _, err = leave(["greet"], capsys)
    assert (code, err) == (2, f"error: {expected}\n")
    assert leave(["--help"], capsys)[0] == 0
