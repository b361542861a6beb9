"""The three wheels as a user gets them: content, metadata, and a run from an empty folder far from the source."""

import email
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement

pytestmark = pytest.mark.heavy

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = {
    "m6rec_core": ".",
    "m6rec_plugin_ctr": "plugins/ctr",
    "m6rec_plugin_baselines": "plugins/baselines",
    "m6rec_plugin_zeroshot": "plugins/zeroshot",
    "m6rec_plugin_query_generation": "plugins/query-generation",
    "m6rec_plugin_product_design": "plugins/product-design",
    "m6rec_plugin_explanation": "plugins/explanation",
    "m6rec_plugin_conversation": "plugins/conversation",
}
LARGEST = 500_000


@pytest.fixture(scope="module")
def wheels(tmp_path_factory):
    """The wheels, built from copies so that no stale build folder can slip in."""
    scratch = tmp_path_factory.mktemp("source")
    folder = tmp_path_factory.mktemp("wheels")
    unwanted = shutil.ignore_patterns(".*", "build", "*.egg-info", "__pycache__", "tests")
    for name, place in FOLDERS.items():
        copy = scratch / name
        if place == ".":
            copy.mkdir()
            for part in ("pyproject.toml", "README.md", "LICENSE"):
                shutil.copy(ROOT / part, copy / part)
            shutil.copytree(ROOT / name, copy / name, ignore=unwanted)
        else:
            shutil.copytree(ROOT / place, copy, ignore=unwanted)
        command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", folder, copy]
        subprocess.run(command, check=True)
    return {path.name.split("-")[0]: path for path in folder.glob("*.whl")}


@pytest.fixture(scope="module")
def installed(wheels, tmp_path_factory):
    """A virtual environment with the wheels; third-party packages are borrowed from the running interpreter.

    A path line in a .pth file is searched after the environment's own packages and activates no editable install, so
    the distributions can only come from the wheels. That their declared dependencies suffice is checked by
    `.ci/run`, which installs them into an environment that borrows nothing.
    """
    folder = tmp_path_factory.mktemp("elsewhere") / "venv"
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    python = folder / "bin" / "python"
    paths = {"base": str(folder), "platbase": str(folder)}
    site = Path(sysconfig.get_path("purelib", "venv", vars=paths))
    site.joinpath("borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    subprocess.run([python, "-m", "pip", "install", "-q", "--no-deps", "--no-index", *wheels.values()], check=True)
    return folder


def run(installed, *command, home=None):
    """Run a program of the environment in an empty folder, without this process's paths."""
    empty = installed.parent / "empty"
    empty.mkdir(exist_ok=True)
    environment = {k: v for k, v in os.environ.items() if k not in {"PYTHONPATH", "M6REC_PLUGINS", "PYTHONHOME"}}
    environment["M6REC_HOME"] = str(home or installed.parent / "home")
    program = [installed / "bin" / command[0], *command[1:]]
    return subprocess.run(program, cwd=empty, env=environment, capture_output=True, text=True, check=False)


def metadata(wheel):
    with zipfile.ZipFile(wheel) as archive:
        name = next(n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))
        return email.message_from_bytes(archive.read(name))


def test_all_three_are_built(wheels):
    assert set(wheels) == set(FOLDERS)


@pytest.mark.parametrize("name", FOLDERS)
def test_content_is_typed_source_and_licence(wheels, name):
    with zipfile.ZipFile(wheels[name]) as archive:
        names = archive.namelist()
    assert f"{name}/py.typed" in names
    assert any(n.endswith("/licenses/LICENSE") for n in names)
    packages = {n.split("/")[0] for n in names if ".dist-info/" not in n}
    assert packages == {name}
    known = (".py", "/py.typed", ".json", ".jsonl", ".toml")
    own = [n for n in names if ".dist-info/" not in n and not n.startswith(f"{name}/data/")]
    outside = [n for n in own if not n.endswith(known)]
    assert outside == []
    assert [n for n in names if "test_" in n or "conftest" in n] == []
    assert wheels[name].stat().st_size < LARGEST


def test_the_wheel_holds_every_module(wheels):
    source = {str(p.relative_to(ROOT)) for p in (ROOT / "m6rec_core").rglob("*.py")}
    with zipfile.ZipFile(wheels["m6rec_core"]) as archive:
        assert source <= set(archive.namelist())


@pytest.mark.parametrize("name", FOLDERS)
def test_metadata(wheels, name):
    data = metadata(wheels[name])
    assert data["License-Expression"] == "Apache-2.0"
    assert data["Requires-Python"].startswith(">=3.11")
    assert data.get_payload().strip(), "the README is the long description"
    for line in data.get_all("Requires-Dist"):
        assert Requirement(line).specifier, f"{line} has no range"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("m6rec_core", ["m6rec = m6rec_core.cli:main", "[m6rec.domains]"]),
        ("m6rec_plugin_ctr", ["[m6rec.tasks]", "ctr = m6rec_plugin_ctr.plugin"]),
        ("m6rec_plugin_baselines", ["[m6rec.baselines]", "din = "]),
        ("m6rec_plugin_zeroshot", ["[m6rec.tasks]", "zeroshot = m6rec_plugin_zeroshot.plugin", "[m6rec.commands]"]),
        (
            "m6rec_plugin_query_generation",
            ["query-generation = m6rec_plugin_query_generation.plugin", "[m6rec.datasets]", "[m6rec.commands]"],
        ),
        (
            "m6rec_plugin_product_design",
            ["product-design = m6rec_plugin_product_design.plugin", "[m6rec.image_pipelines]", "[m6rec.commands]"],
        ),
        (
            "m6rec_plugin_explanation",
            ["explanation = m6rec_plugin_explanation.plugin", "[m6rec.datasets]", "[m6rec.domains]"],
        ),
        (
            "m6rec_plugin_conversation",
            ["conversation = m6rec_plugin_conversation.plugin", "[m6rec.datasets]", "[m6rec.commands]"],
        ),
    ],
)
def test_entry_points(wheels, name, expected):
    with zipfile.ZipFile(wheels[name]) as archive:
        text = archive.read(next(n for n in archive.namelist() if n.endswith("entry_points.txt"))).decode()
    for line in expected:
        assert line in text


def test_imports_come_from_the_wheels(installed):
    code = "import m6rec_core, m6rec_plugin_ctr, m6rec_plugin_baselines as b; print(m6rec_core.__file__, b.__file__)"
    result = run(installed, "python", "-c", code)
    assert result.returncode == 0, result.stderr
    assert result.stdout.count(str(installed)) == 2


def test_help_and_tasks_answer(installed):
    assert "run" in run(installed, "m6rec", "--help").stdout
    result = run(installed, "m6rec", "tasks", "--json")
    assert result.returncode == 0, result.stderr
    assert "m6rec-plugin-ctr" in result.stdout
    assert json.loads(result.stdout)


def test_the_plugin_conforms_outside_the_tree(installed):
    """The shipped conformance kit, on the installed plugin, with the plugin's own test file copied out of the tree."""
    empty = installed.parent / "empty"
    empty.mkdir(exist_ok=True)
    for source, target in (("conftest.py", "conftest.py"), ("test_ctr_conformance.py", "test_outside.py")):
        shutil.copy(ROOT / "plugins/ctr/tests" / source, empty / target)
    result = run(installed, "python", "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_outside.py")
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr
    assert " passed" in result.stdout
