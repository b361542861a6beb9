"""What the source imports is what the packages declare, and constraints.txt pins it within the declared ranges."""

import ast
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = {
    ".": "m6rec_core",
    "plugins/ctr": "src",
    "plugins/baselines": "src",
    "plugins/retrieval": "src",
    "plugins/zeroshot": "src",
    "plugins/query-generation": "src",
    "plugins/product-design": "src",
    "plugins/explanation": "src",
    "plugins/conversation": "src",
}
USED_WITHOUT_IMPORT = {"gguf"}  # transformers imports it to read GGUF files
OPTIONAL = {"tensorboard", "lmdb", "redis", "diffusers"}


def project(folder: str) -> dict:
    return tomllib.loads((ROOT / folder / "pyproject.toml").read_text())["project"]


def declared(folder: str) -> dict[str, Requirement]:
    requirements = [Requirement(line) for line in project(folder)["dependencies"]]
    return {canonicalize_name(r.name): r for r in requirements}


def imported(folder: str) -> set[str]:
    """Top-level modules that the source of a distribution imports, its own left out."""
    found: set[str] = set()
    for file in (ROOT / folder / FOLDERS[folder]).rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                found |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                found.add(node.module.split(".")[0])
    own = {"m6rec_core"} if folder == "." else {path.name for path in (ROOT / folder / "src").iterdir()}
    return found - set(sys.stdlib_module_names) - own


def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    return {canonicalize_name(n): v for n, v in (line.split("==") for line in lines if "==" in line and line[0] != "#")}


@pytest.mark.parametrize("folder", FOLDERS)
def test_imports_are_declared_and_declarations_are_used(folder):
    providers = packages_distributions() | {"m6rec_core": ["m6rec-core"]}
    used = {canonicalize_name(providers[module][0]) for module in imported(folder) if module in providers}
    unknown = {module for module in imported(folder) if module not in providers} - OPTIONAL
    assert not unknown, f"modules of no installed distribution: {unknown}"
    testing_only = {"pytest"}  # m6rec_core.testing is for authors who run pytest
    assert used - set(declared(folder)) - OPTIONAL - testing_only == set()
    assert set(declared(folder)) - used - USED_WITHOUT_IMPORT == set()


@pytest.mark.parametrize("folder", FOLDERS)
def test_ranges_have_a_floor_and_hold_the_pins(folder):
    for name, requirement in declared(folder).items():
        assert any(s.operator in {">=", "~="} for s in requirement.specifier), f"{requirement} has no lower bound"
        assert not any(s.operator == "==" for s in requirement.specifier), f"{requirement}: pin it in constraints.txt"
        if name != "m6rec-core":
            assert requirement.specifier.contains(pins()[name]), f"{requirement} excludes the pin {pins()[name]}"


def test_plugins_accept_the_core_beside_them():
    version = project(".")["version"]
    for folder in (name for name in FOLDERS if name != "."):
        assert declared(folder)["m6rec-core"].specifier.contains(version)


def test_constraints_name_no_local_build():
    assert all("+" not in version for version in pins().values())
    assert not [name for name in pins() if name.startswith(("nvidia", "triton", "cuda"))]
