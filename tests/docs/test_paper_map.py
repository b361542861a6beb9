"""Every symbol and command of the paper map exists; what does not exist yet is said to be planned."""

import importlib
import re
from pathlib import Path

import click
import pytest

from m6rec_core.cli import commands

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "paper-map.md").read_text()
ROWS = [row for row in re.findall(r"^\| (.+) \|$", TEXT, re.MULTILINE) if not row.startswith(("paper", "---"))]
SYMBOLS = sorted(set(re.findall(r"`(m6rec_[\w.]+:[\w.]+)`", TEXT)))


@pytest.mark.parametrize("symbol", SYMBOLS)
def test_symbol_can_be_imported(symbol):
    module, _, names = symbol.partition(":")
    value = importlib.import_module(module)
    for name in names.split("."):
        value = getattr(value, name)
    assert value is not None


@pytest.mark.parametrize("row", ROWS)
def test_every_row_names_a_symbol_a_command_or_a_plan(row):
    where = row.split(" | ")[-1]
    named = re.findall(r"`m6rec_[\w.]+:[\w.]+`", where)
    assert named or re.search(r"`m6rec \w+", where) or "planned" in where


@pytest.mark.parametrize("command", sorted(set(re.findall(r"`m6rec ([a-z0-9-]+)", TEXT))))
def test_command_exists(command):
    context = click.Context(commands)
    assert command in commands.list_commands(context)


def test_the_whole_paper_is_mapped():
    places = " ".join(row.split(" | ")[0] for row in ROWS)
    for expected in [
        "3.1",
        "3.2",
        "3.3",
        "3.4",
        "3.5",
        *(f"Fig. {n}" for n in range(1, 9)),
        *(f"Table {n}" for n in range(1, 9)),
    ]:
        assert expected in places, f"{expected} is not in the paper map"
