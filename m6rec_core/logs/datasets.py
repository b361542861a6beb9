"""Data sets by name: which ones are known, how they are prepared, and where a name or a folder leads."""

from __future__ import annotations

import difflib
import json
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType

from m6rec_core.assets import ASSETS, fetch, fetch_asset, home
from m6rec_core.errors import DataError
from m6rec_core.logs.movielens import ML_1M, ML_100K, MovieLens, tables
from m6rec_core.logs.recipes import load_recipe, recipe_names

PREPARERS: Mapping[str, MovieLens] = MappingProxyType({edition.name: edition for edition in (ML_100K, ML_1M)})
"""The data sets of the core; installed packages offer more (`m6rec_core.logs.recipes`)."""


def known_names() -> tuple[str, ...]:
    """Names of all data sets, the core's first, without importing the packages that offer the others."""
    return (*PREPARERS, *(name for name in recipe_names() if name not in PREPARERS))


def locate(data: str, progress: bool = True) -> Path:
    """Return the folder that `data` means: a folder as it is, a known name fetched and prepared when it is not there
    yet.

    A folder wins over a name only when it is written as a path ("./ml-100k") or is no known name. Raises DataError for
    anything else, with near names; AssetError when fetching fails.
    """
    names = known_names()
    if data in names:
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
    raise DataError(f"{data!r} is neither a folder nor a known data set{_near(data, names)}")


def prepare(
    name: str, output: Path | None = None, force: bool = False, progress: bool = True, source: Path | None = None
) -> Path:
    """Write data set `name`, with dataset.json, to `output` (default: `home()/data/NAME`), fetching it where it is an
    asset and reading the folder `source` where the user brings the files.

    The folder appears complete or not at all. Row counts are checked. Raises DataError for an unknown name, or when
    `output` exists, is not empty and `force` was not given.
    """
    names = known_names()
    if name not in names:
        raise DataError(f"no data set is called {name!r}{_near(name, names)}")
    target = output if output is not None else home() / "data" / name
    if target.exists() and not target.is_dir():
        raise DataError(f"{target}: this is a file; name a folder")
    if target.is_dir() and any(target.iterdir()) and not force:
        raise DataError(
            f"{target}: the folder is not empty; use --force to replace its content, or name another --output"
        )
    write, card = _movielens(name, progress) if name in PREPARERS else _from_recipe(name, progress, source)
    if name in PREPARERS and source is not None:
        raise DataError(f"data set {name!r} is fetched by itself; leave --from out")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{target.name}-", dir=target.parent) as scratch:
            finished = Path(scratch) / "finished"
            finished.mkdir()
            write(finished)
            (finished / "dataset.json").write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")
            _replace(finished, target, Path(scratch) / "before")
    except OSError as error:
        raise DataError(f"{target}: cannot be written ({error.strerror or error})") from error
    return target


Write = Callable[[Path], None]


def _movielens(name: str, progress: bool) -> tuple[Write, dict[str, str]]:
    frames = tables(PREPARERS[name], fetch(name, progress))

    def write(folder: Path) -> None:
        for table, frame in frames.items():
            frame.to_parquet(folder / f"{table}.parquet", index=False)

    return write, {"name": name, "domain": "movies", "terms": ASSETS[name].terms}


def _from_recipe(name: str, progress: bool, source: Path | None) -> tuple[Write, dict[str, str]]:
    recipe = load_recipe(name)
    if source is not None and not recipe.source:
        raise DataError(f"data set {name!r} is fetched by itself; leave --from out")
    if source is not None and not source.is_dir():
        raise DataError(f"--from {source}: there is no such folder; it has to hold {recipe.source}")
    if recipe.source and source is None:
        raise DataError(
            f"data set {name!r} is made from files that you bring: `m6rec data prepare {name} --from DIR`, where DIR "
            f"holds {recipe.source}"
        )
    found = fetch_asset(recipe.asset, progress) if recipe.asset is not None and source is None else source
    return partial(recipe.write, found), {"name": name, "domain": recipe.domain, "terms": recipe.terms}


def _near(name: str, names: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, names, 1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return f"{hint} (known: {', '.join(names)})"


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
