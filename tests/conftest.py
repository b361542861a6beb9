"""Shared by the tests of runs and of the commands: a tiny backbone in a folder, small logs, and one finished run."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

USERS, ITEMS, EVENTS = 60, 30, 700
SETTINGS = (
    "tuning.budget=0.9",
    "tuning.prompts=4",
    "training.lr=0.01",
    "training.patience=9",
    "training.precision=fp32",
    "training.pack_tokens=240",
    "evaluation.bootstrap=30",
    "evaluation.baselines=[random,item-mean,logistic-regression]",
    "settings.sampling.history.events=1",
    "settings.sampling.history.stride=2",
    "settings.max_tokens=120",
)
"""A run of a few seconds."""


@dataclass(frozen=True, slots=True)
class Films:
    """Folders: `logs` to read, `backbone` to load, `home` for everything the program keeps."""

    logs: Path
    backbone: Path
    home: Path

    def command(self, output: Path, *more: str) -> list[str]:
        """The arguments of `m6rec run` on these."""
        given = [part for setting in SETTINGS for part in ("--set", setting)]
        return [
            "run", "--task", "ctr", "--data", str(self.logs), "--backbone", str(self.backbone), "--output", str(output),
            *given, *more,
        ]  # fmt: skip


def write_logs(folder: Path) -> Path:
    """Made-up ratings of films in which some films are better than others."""
    chance = random.Random(0)  # noqa: S311 - made-up data
    folder.mkdir(parents=True)
    films = [f"i{i},Film {i},{1980 + i % 20},{('Drama', 'Comedy')[i % 2]}" for i in range(ITEMS)]
    people = [f"u{u},{20 + u % 40},{('male', 'female')[u % 2]},writer" for u in range(USERS)]
    ratings, time = [], 1_600_000_000
    for _ in range(EVENTS):
        time += chance.randint(60, 9_000)
        user, item = chance.randrange(USERS), chance.randrange(ITEMS)
        liked = chance.random() < 0.2 + 0.6 * (item % 5) / 4
        ratings.append(f"u{user},i{item},{time},rating,{5 if liked else 2}")
    tables = {
        "items": ("item_id,title,year,genres", films),
        "users": ("user_id,age,gender,occupation", people),
        "events": ("user_id,item_id,timestamp,kind,value", ratings),
    }
    for name, (header, rows) in tables.items():
        (folder / f"{name}.csv").write_text("\n".join([header, *rows]) + "\n")
    (folder / "dataset.json").write_text('{"name": "films", "domain": "movies", "terms": "made up"}')
    return folder


def save_backbone(folder: Path, seed: int = 0) -> Path:
    """A tiny random backbone as transformers saves one."""
    import torch

    from m6rec_core.testing import tiny_backbone, tiny_tokenizer

    tiny_backbone(dtype=torch.float32, seed=seed).decoder.save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A home of its own, and no accelerate config of whoever runs the tests."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("M6REC_HOME", str(home))
        patch.setenv("HF_HOME", str(home / "huggingface"))
        for name in ("M6REC_PLUGINS", "M6REC_STRICT", "M6REC_DEBUG"):
            patch.delenv(name, raising=False)
        yield home


@pytest.fixture(scope="session")
def films(tmp_path_factory: pytest.TempPathFactory, environment: Path) -> Films:
    """Small logs and a tiny backbone."""
    pytest.importorskip("m6rec_plugin_ctr")
    folder = tmp_path_factory.mktemp("films")
    return Films(write_logs(folder / "logs"), save_backbone(folder / "tiny"), environment)


@pytest.fixture(scope="session")
def other_backbone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A backbone of the same name and shape with other weights."""
    return save_backbone(tmp_path_factory.mktemp("other") / "tiny", seed=1)


@pytest.fixture(scope="session")
def finished_run(films: Films, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that ended well, in this process."""
    from m6rec_core.cli import main

    output = tmp_path_factory.mktemp("runs") / "films"
    with pytest.raises(SystemExit) as done:
        main(films.command(output))
    assert done.value.code == 0
    return output
