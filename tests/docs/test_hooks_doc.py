"""docs/hooks.md says what the code says."""

import dataclasses
import inspect
import re
from pathlib import Path

import pytest

from m6rec_core import hookspecs
from m6rec_core.registry import HOOKS
from m6rec_core.types import TaskManifest, TaskView

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/hooks.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL))


def live_hooks() -> list[str]:
    functions = inspect.getmembers(hookspecs, inspect.isfunction)
    return [name for name, function in functions if getattr(function, f"{hookspecs.PROJECT}_spec", None)]


def test_every_hook_has_a_section_in_the_order_of_use() -> None:
    assert sorted(HOOKS) == sorted(live_hooks())
    assert [title for title in SECTIONS if title in HOOKS] == list(HOOKS)


@pytest.mark.parametrize("hook", HOOKS)
def test_signature_is_the_live_one(hook: str) -> None:
    written = re.search(r"```python\n(.*?)\n```", SECTIONS[hook], re.DOTALL)
    live = f"def {hook}{inspect.signature(getattr(hookspecs, hook))}".replace("'", "")
    assert written is not None
    assert written.group(1) == live


def test_version_is_the_live_one() -> None:
    assert f"hook API {hookspecs.HOOK_API} " in PAGE


def rows_of(section: str) -> list[str]:
    return re.findall(r"^\| `(\w+)`", SECTIONS[section], re.MULTILINE)


def test_every_field_of_the_manifest_is_explained() -> None:
    assert rows_of("The manifest") == [field.name for field in dataclasses.fields(TaskManifest)]


def test_every_field_of_the_view_is_explained() -> None:
    assert rows_of("compute_loss") == [field.name for field in dataclasses.fields(TaskView)][1:]
