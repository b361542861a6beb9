"""The toy of `toy_run.py`, which is also run as a script, as a fixture."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="session")
def toy() -> ModuleType:
    name = "m6rec_toy_run"
    spec = importlib.util.spec_from_file_location(name, Path(__file__).parent / "toy_run.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
