"""Designs as pictures: a title goes to a text-to-image pipeline, found by name among entry points.

    [project.entry-points."m6rec.image_pipelines"]
    sketches = "my_package.pictures:make_sketches"

`make_sketches(source)` gets what follows the name in `--pipeline sketches:SOURCE` ("" for nothing) and returns a
`m6rec_core.generation.Painter`. The pipeline `diffusers` is part of this package, with the extra `pictures`: SOURCE is
a folder or a hub id.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from m6rec_core.errors import ConfigError, DataError
from m6rec_core.generation import Painter, Picture
from m6rec_core.metrics.text.novelty import normalised

NAME_LENGTH = 40


@dataclass(frozen=True, slots=True)
class DiffusersPainter:
    """Paints with a text-to-image pipeline of diffusers: `pipeline(prompt, generator=...)` has `images`."""

    pipeline: Callable[..., Any]

    def __call__(self, text: str, seed: int) -> Picture:
        """Paint the first picture."""
        import torch

        found = self.pipeline(text, generator=torch.Generator().manual_seed(seed))
        return cast(Picture, found.images[0])


def diffusers_pipeline(source: str) -> Painter:
    """Load a pipeline of diffusers from a folder or hub id, safetensors only, on the GPU where there is one.

    Raises ConfigError where it cannot be had.
    """
    if not source:
        raise ConfigError("--pipeline diffusers: name the model, --pipeline diffusers:FOLDER (or a hub id)")
    import torch

    try:
        from diffusers import DiffusionPipeline
    except ImportError as error:
        raise ConfigError(
            "--pipeline diffusers: it is not installed; run `pip install 'm6rec-plugin-product-design[pictures]'`"
        ) from error
    try:
        load: Any = DiffusionPipeline.from_pretrained  # untyped in some versions of diffusers
        loaded = load(source, use_safetensors=True)
        return DiffusersPainter(loaded.to("cuda") if torch.cuda.is_available() else loaded)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"--pipeline diffusers:{source}: cannot be loaded ({' '.join(str(error).split())})"
        ) from error


@dataclass(frozen=True, slots=True)
class Painted:
    """A design beside its picture. `sample`, `number`: whose design, and which of them, from 1."""

    sample: str
    number: int
    category: str
    title: str
    picture: str


def check_folder(folder: Path) -> None:
    """Raise DataError where pictures would be mixed with other files, before anything is written."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise DataError(f"--pictures {folder}: it is there and not an empty folder; name a new one")


def paint(painter: Painter, designs: Sequence[tuple[str, int, str, str]], folder: Path, seed: int = 0) -> list[Painted]:
    """Paint (sample, number, category, title) each, and write PNG files and designs.json into a new folder.

    The folder appears when all is done, or not at all. Raises DataError when it cannot be written.
    """
    check_folder(folder)
    painted = []
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as name:
            work = Path(name) / "pictures"
            work.mkdir()
            for place, (sample, number, category, title) in enumerate(designs, start=1):
                file = f"{place:03d}-{_file_name(title)}.png"
                painter(title, seed).save(str(work / file), format="PNG")
                painted.append(Painted(sample, number, category, title, file))
            rows = [{slot: getattr(one, slot) for slot in one.__slots__} for one in painted]
            (work / "designs.json").write_text(json.dumps(rows, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
            if folder.exists():
                folder.rmdir()
            os.replace(work, folder)
    except OSError as error:
        raise DataError(f"--pictures {folder}: cannot be written ({error.strerror or error})") from error
    return painted


def _file_name(title: str) -> str:
    """A title in letters that every file system takes; "design" where it has none (an emoji)."""
    words = re.sub(r"[^a-z0-9]+", "-", normalised(title)).strip("-")
    return words[:NAME_LENGTH].strip("-") or "design"
