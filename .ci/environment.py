"""Prepare what tox environments share: one virtual environment with the core, and an overlay of plugins for each.

    python .ci/environment.py SHARED [OVERLAY PLUGIN_FOLDER ...]

torch alone is most of a gigabyte, so seven environments with a copy each would cost more than the tests. SHARED holds
the core (editable), the dependencies of all and the test tools at the versions of constraints.txt; it is built again
when one of these lists changes. OVERLAY receives the built plugins and nothing else: put it on PYTHONPATH, and a plugin
that was left out is really absent, entry points and all. A PLUGIN_FOLDER may be a pattern: plugins/*
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
STAMP = "m6rec-inputs.sha256"
GROUPS = ("test", "types")


def main(arguments: list[str]) -> None:
    """Build what is missing or out of date."""
    shared = Path(arguments[0])
    python = _shared_environment(shared)
    if len(arguments) > 1:
        _overlay(python, Path(arguments[1]), [path for name in arguments[2:] for path in sorted(ROOT.glob(name))])


def _shared_environment(folder: Path) -> Path:
    """Return the interpreter of the shared environment, building it unless its stamp matches the input lists."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    needed = _plugin_dependencies()
    constraints = (ROOT / "constraints.txt").read_text()
    inputs = [sys.version, constraints, settings["project"], settings["dependency-groups"], needed]
    digest = hashlib.sha256(json.dumps(inputs).encode()).hexdigest()
    stamp, python = folder / STAMP, folder / "bin" / "python"
    if stamp.is_file() and stamp.read_text() == digest:
        return python
    if folder.exists():
        shutil.rmtree(folder)
    _run(sys.executable, "-m", "venv", str(folder))
    tools = [requirement for group in GROUPS for requirement in settings["dependency-groups"][group]] + needed
    _run(str(python), "-m", "pip", "install", "-q", "-c", str(ROOT / "constraints.txt"), *tools, "-e", str(ROOT))
    stamp.write_text(digest)
    return python


def _plugin_dependencies() -> list[str]:
    """What the plugins need besides the core and each other: overlays are installed without dependencies."""
    found = set()
    for path in sorted(ROOT.glob("plugins/*/pyproject.toml")):
        found.update(tomllib.loads(path.read_text())["project"].get("dependencies", []))
    return sorted(requirement for requirement in found if not requirement.startswith("m6rec-"))


def _overlay(python: Path, folder: Path, plugins: list[Path]) -> None:
    """Install copies of the plugin folders (a build would leave files behind in them) into an empty folder."""
    if folder.exists():
        shutil.rmtree(folder)
    with tempfile.TemporaryDirectory() as scratch:
        copies = [
            shutil.copytree(plugin, Path(scratch) / plugin.name, ignore=shutil.ignore_patterns("build", "*.egg-info"))
            for plugin in plugins
        ]
        options = ("-q", "--no-deps", "--no-build-isolation", "--target", str(folder))
        _run(str(python), "-m", "pip", "install", *options, *map(str, copies))


def _run(*command: str) -> None:
    subprocess.run(command, check=True)  # noqa: S603 (the commands are the ones written above)


if __name__ == "__main__":
    main(sys.argv[1:])
