"""Files that are there as a whole or not at all, and their checksums."""

from __future__ import annotations

import hashlib
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from m6rec_plugin_retrieval.index.errors import VectorIndexError


def sha256_of(file: Path) -> str:
    """Return the checksum of a file in hexadecimal."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@contextmanager
def whole_folder(path: Path, replaces: frozenset[str] | None) -> Iterator[Path]:
    """Give an empty folder beside `path` to write to; at the end it becomes `path`, and on failure it is removed.

    `replaces`: file names that a folder at `path` may hold so that it is replaced; None refuses a path that is taken. A
    folder that is replaced is put aside first and removed last. Raises VectorIndexError.
    """
    check_replaceable(path, replaces)
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex}.partial")
    try:
        partial.mkdir(parents=True)
        yield partial
        _put(partial, path)
    except OSError as error:
        raise VectorIndexError(f"cannot write {path}: {error}: free some space or choose another folder") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def check_replaceable(path: Path, replaces: frozenset[str] | None) -> None:
    """Raise VectorIndexError where `path` is taken by something that `whole_folder` would not replace."""
    if not path.exists() and not path.is_symlink():
        return
    if replaces is None:
        raise VectorIndexError(f"{path} exists already: choose another folder, or replace it with --force")
    if not path.is_dir() or {entry.name for entry in path.iterdir()} - replaces:
        raise VectorIndexError(f"{path} is not just an index, so it is not replaced: choose another folder")


def _put(source: Path, target: Path) -> None:
    if not target.exists():
        os.replace(source, target)
        return
    aside = target.with_name(f".{target.name}.{uuid.uuid4().hex}.old")
    os.replace(target, aside)
    try:
        os.replace(source, target)
    except OSError:
        os.replace(aside, target)
        raise
    shutil.rmtree(aside, ignore_errors=True)
