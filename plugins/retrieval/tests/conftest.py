"""Shared by the tests of the plugin: pairs, small logs where films of one kind follow each other, a tiny backbone."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from m6rec_plugin_retrieval import plugin
from m6rec_plugin_retrieval.sample import RetrievalSample

from m6rec_core.types import Event, Item

NOW = 1_600_000_000.0
USERS, ITEMS = 24, 16


def film(number: int) -> Item:
    kind = ("Drama", "Comedy", "Western")[number % 3]
    return Item(item_id=f"i{number}", fields={"title": f"Film {number}", "year": str(1980 + number), "genres": kind})


def seen(number: int, time: float = NOW) -> Event:
    return Event(item=film(number), kind="rating", timestamp=time)


def pair(user: int, history: list[int], candidate: int, **more: object) -> RetrievalSample:
    values = {
        "id": f"u{user}:i{candidate}:{len(history)}",
        "user_id": f"u{user}",
        "user": {"age": "24", "gender": "male", "occupation": "writer"},
        "history": tuple(seen(n) for n in history),
        "candidate": film(candidate),
        "timestamp": NOW,
        "log_share": -1.0 - candidate / 4,
        **more,
    }
    return RetrievalSample.model_validate(values)


@pytest.fixture
def task():
    return plugin


@pytest.fixture
def samples() -> list[RetrievalSample]:
    """Five pairs; the first two are of one user, and two have the same item."""
    return [pair(1, [0], 3), pair(1, [0, 3], 6), pair(2, [1, 4], 7), pair(3, [2], 5), pair(4, [9, 2], 5)]


@dataclass(frozen=True)
class Small:
    """Folders of logs and of a tiny backbone."""

    logs: Path
    backbone: Path

    def run(self, output: Path, *settings: str) -> list[str]:
        given = [
            "tuning.budget=0.9", "tuning.prompts=4", "training.lr=0.01", "training.precision=fp32",
            "training.pack_tokens=240", "evaluation.bootstrap=20", "evaluation.baselines=[random,popularity]",
            "training.max_steps=2", "settings.width=16",
            "settings.max_tokens=120", *settings,
        ]  # fmt: skip
        command = ["run", "--task", "retrieval", "--data", str(self.logs), "--backbone", str(self.backbone)]
        return [*command, "--output", str(output), *(part for one in given for part in ("--set", one))]


def write_logs(folder: Path) -> Path:
    """Users walk through the films of one kind, in turn; user u99 has done nothing."""
    chance = random.Random(0)  # noqa: S311 - made-up data
    folder.mkdir(parents=True)
    films = [",".join([f"i{n}", *film(n).fields.values()]) for n in range(ITEMS)]
    people = [f"u{n},{20 + n},male,writer" for n in [*range(USERS), 99]]
    events = []
    for user in range(USERS):
        shelf = [n for n in range(ITEMS) if n % 3 == user % 3]
        chance.shuffle(shelf)
        events += [f"u{user},i{n},{NOW + 60 * k + user},rating,5" for k, n in enumerate(shelf)]
    tables = {
        "items": ("item_id,title,year,genres", films),
        "users": ("user_id,age,gender,occupation", people),
        "events": ("user_id,item_id,timestamp,kind,value", events),
    }
    for name, (header, rows) in tables.items():
        (folder / f"{name}.csv").write_text("\n".join([header, *rows]) + "\n")
    (folder / "dataset.json").write_text('{"name": "small", "domain": "movies", "terms": "made up"}')
    return folder


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Small]:
    import torch

    from m6rec_core.testing import tiny_backbone, tiny_tokenizer

    folder = tmp_path_factory.mktemp("small")
    tiny_backbone(dtype=torch.float32).decoder.save_pretrained(folder / "tiny")
    tiny_tokenizer().save_pretrained(folder / "tiny")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("M6REC_HOME", str(folder / "home"))
        patch.delenv("M6REC_PLUGINS", raising=False)
        yield Small(write_logs(folder / "logs"), folder / "tiny")


@pytest.fixture(scope="session")
def retrieval_run(small: Small, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run."""
    from m6rec_core.cli import main

    output = tmp_path_factory.mktemp("runs") / "retrieval"
    with pytest.raises(SystemExit) as done:
        main(small.run(output, "settings.unseen_share=0.2"))
    assert done.value.code == 0
    return output
