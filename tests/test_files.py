"""Files and folders are there as a whole or not at all."""

from __future__ import annotations

import hashlib
import os

import pytest

from m6rec_core import files
from m6rec_core.files import replacing, sha256_of, whole_folder


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path):
    path = tmp_path / "deep" / "file.txt"
    with replacing(path) as partial:
        partial.write_text("one")
        assert not path.exists()
    assert path.read_text() == "one"
    assert path.stat().st_mode & 0o777 == 0o644
    with pytest.raises(UnicodeEncodeError), replacing(path) as partial:
        partial.write_text("half \ud800", encoding="utf-8")
    assert path.read_text() == "one"
    assert os.listdir(path.parent) == ["file.txt"]


def test_a_full_disk_names_the_file(tmp_path):
    with pytest.raises(OSError, match="No space") as caught, replacing(tmp_path / "file"):
        raise OSError(28, "No space left on device")
    assert caught.value.filename == str(tmp_path / "file")
    assert os.listdir(tmp_path) == []


def test_a_folder_is_replaced_whole_or_not_at_all(tmp_path):
    path = tmp_path / "deep" / "folder"
    for name in ("one", "two"):
        with whole_folder(path) as folder:
            (folder / name).write_text(name)
        assert os.listdir(path) == [name]
    with pytest.raises(KeyError), whole_folder(path) as folder:
        (folder / "three").write_text({}["half"])
    assert os.listdir(path) == ["two"]
    assert os.listdir(path.parent) == ["folder"]


def test_the_old_folder_comes_back_when_the_new_one_cannot_be_put_there(tmp_path, monkeypatch):
    path = tmp_path / "folder"
    with whole_folder(path) as folder:
        (folder / "old").write_text("old")
    move = os.replace

    def refuse(source, target):
        if str(source).endswith(".partial"):
            raise OSError(28, "No space left on device")
        move(source, target)

    monkeypatch.setattr(files.os, "replace", refuse)
    with pytest.raises(OSError, match="No space"), whole_folder(path) as folder:
        (folder / "new").write_text("new")
    assert os.listdir(path) == ["old"]
    assert os.listdir(tmp_path) == ["folder"]


def test_a_checksum(tmp_path):
    (tmp_path / "file").write_bytes(b"some bytes")
    assert sha256_of(tmp_path / "file") == hashlib.sha256(b"some bytes").hexdigest()
