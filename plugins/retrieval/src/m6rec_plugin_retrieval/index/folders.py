"""The folder of an index: what it may replace."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from m6rec_core.files import whole_folder
from m6rec_plugin_retrieval.index.errors import VectorIndexError


@contextmanager
def index_folder(path: Path, replaces: frozenset[str] | None) -> Iterator[Path]:
    """Give an empty folder to write to, which becomes `path` at the end; on failure it is removed.

    `replaces`: file names that a folder at `path` may hold so that it is replaced; None refuses a path that is taken.
    Raises VectorIndexError.
    """
    check_replaceable(path, replaces)
    try:
        with whole_folder(path) as folder:
            yield folder
    except OSError as error:
        raise VectorIndexError(f"cannot write {path}: {error}: free some space or choose another folder") from error


def check_replaceable(path: Path, replaces: frozenset[str] | None) -> None:
    """Raise VectorIndexError where `path` is taken by something that `index_folder` would not replace."""
    if not path.exists() and not path.is_symlink():
        return
    if replaces is None:
        raise VectorIndexError(f"{path} exists already: choose another folder, or replace it with --force")
    if not path.is_dir() or {entry.name for entry in path.iterdir()} - replaces:
        raise VectorIndexError(f"{path} is not just an index, so it is not replaced: choose another folder")
