"""Data sets by name: which ones are known, how they are prepared, and where a name or a folder leads."""

from __future__ import annotations

import difflib
import json
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from m6rec_core.assets import ASSETS, fetch, home
from m6rec_core.errors import DataError
from m6rec_core.logs.movielens import ML_1M, ML_100K, MovieLens, tables

PREPARERS: Mapping[str, MovieLens] = MappingProxyType({edition.name: edition for edition in (ML_100K, ML_1M)})
"""The data sets that `m6rec data prepare` knows."""


def locate(data: str, progress: bool = True) -> Path:
    """Return the folder that `data` means: a folder as it is, a known name fetched and prepared when it is not there
    yet.

    A folder wins over a name only when it is written as a path ("./ml-100k") or is no known name. Raises DataError for
    anything else, with near names; AssetError when fetching fails.
    """
    if data in PREPARERS:
        folder = home() / "data" / data
        try:
            return folder if (folder / "dataset.json").is_file() else prepare(data, progress=progress)
        except DataError:
            if (folder / "dataset.json").is_file():  # another process prepared it between the look and the attempt
                return folder
            raise
    folder = Path(data).expanduser()
    if folder.is_dir():
        return folder
    names = list(PREPARERS)
    near = difflib.get_close_matches(data, names, 1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise DataError(f"{data!r} is neither a folder nor a known data set{hint} (known: {', '.join(names)})")


def prepare(name: str, output: Path | None = None, force: bool = False, progress: bool = True) -> Path:
    """Fetch data set `name` and write its tables as parquet, with dataset.json, to `output` (default:
    `home()/data/NAME`).

    The folder appears complete or not at all. Row counts are checked. Raises DataError for an unknown name, or when
    `output` exists, is not empty and `force` was not given.
    """
    if name not in PREPARERS:
        near = difflib.get_close_matches(name, PREPARERS, 1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise DataError(f"no data set is called {name!r}{hint} (known: {', '.join(PREPARERS)})")
    target = output if output is not None else home() / "data" / name
    if target.exists() and not target.is_dir():
        raise DataError(f"{target}: this is a file; name a folder")
    if target.is_dir() and any(target.iterdir()) and not force:
        raise DataError(
            f"{target}: the folder is not empty; use --force to replace its content, or name another --output"
        )
    frames = tables(PREPARERS[name], fetch(name, progress))
    card = {"name": name, "domain": "movies", "terms": ASSETS[name].terms}
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{target.name}-", dir=target.parent) as scratch:
            finished = Path(scratch) / "finished"
            finished.mkdir()
            for table, frame in frames.items():
                frame.to_parquet(finished / f"{table}.parquet", index=False)
            (finished / "dataset.json").write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")
            _replace(finished, target, Path(scratch) / "before")
    except OSError as error:
        raise DataError(f"{target}: cannot be written ({error.strerror or error})") from error
    return target


def _replace(finished: Path, target: Path, before: Path) -> None:
    """Put `finished` where `target` is. The old content is moved aside first, and goes with the scratch folder."""
    if target.is_dir():
        shutil.move(target, before)
    try:
        finished.replace(target)
    except OSError:
        if before.exists():
            shutil.move(before, target)
        elif (target / "dataset.json").is_file():  # another process has just prepared it
            return
        raise
