import importlib
import sys
from pathlib import Path
from types import ModuleType

import pytest

PLUGIN = """
import torch
from m6rec_core.config import TaskConfig
from m6rec_core.hookspecs import hookimpl
from m6rec_core.types import Prediction, Region, Sample, Segment, Serialized, TaskManifest, TextRow


class FakeSample(Sample):
    label: bool | None = None


class FakePrediction(Prediction):
    score: float


MANIFEST = TaskManifest(
    task="{task}",
    summary="a fake",
    hook_api=(1, 1),
    sample=FakeSample,
    prediction=FakePrediction,
    config=TaskConfig,
)


@hookimpl
def serialize_sample(sample, config):
    return Serialized((TextRow((Segment("{task} " + sample.id, Region.AUTOREGRESSIVE),)),))


@hookimpl
def build_head(config, backbone):
    return torch.nn.Linear(backbone.hidden, 1)


@hookimpl
def compute_loss(head, view):
    return head(view.hidden).squeeze(-1)


@hookimpl
def decode(head, view):
    return [FakePrediction(id=sample.id, score=0.5) for sample in view.samples]
"""


class Site:
    """A folder on the import path into which fake distributions are written, without pip."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def add(
        self,
        name: str,
        source: str | None = None,
        *,
        distribution: str = "",
        module: str = "",
        version: str = "1.0",
        requires: tuple[str, ...] = ("m6rec-core>=0.1,<0.2",),
        group: str = "m6rec.tasks",
        value: str = "",
    ) -> str:
        """Install a distribution that provides `name`; returns its module's name."""
        distribution = distribution or f"fake-{name}"
        module = module or f"fake_{name.replace('-', '_')}"
        (self.folder / f"{module}.py").write_text(PLUGIN.format(task=name) if source is None else source)
        info = self.folder / f"{distribution.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        lines = ["Metadata-Version: 2.1", f"Name: {distribution}", f"Version: {version}"]
        lines += [f"Requires-Dist: {line}" for line in requires]
        (info / "METADATA").write_text("\n".join(lines) + "\n")
        (info / "entry_points.txt").write_text(f"[{group}]\n{name} = {value or module}\n")
        importlib.invalidate_caches()
        return module

    def module(self, source: str, name: str = "fake_inline") -> ModuleType:
        """Import `source` as a module that no distribution announces."""
        (self.folder / f"{name}.py").write_text(source)
        importlib.invalidate_caches()
        return importlib.import_module(name)


@pytest.fixture
def site(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delenv("M6REC_PLUGINS", raising=False)
    monkeypatch.delenv("M6REC_STRICT", raising=False)
    yield Site(tmp_path)
    for name in [name for name in sys.modules if name.startswith("fake_")]:
        del sys.modules[name]


@pytest.fixture
def plugin_source():
    """The fake plugin's source for a task name, to be broken by a replacement."""
    return lambda task: PLUGIN.format(task=task)
