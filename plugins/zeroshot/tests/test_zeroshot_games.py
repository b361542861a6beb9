"""The preparer of amazon-games, on made-up files and on the public ones where they are."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import pytest
from m6rec_plugin_zeroshot.games import GAMES, RECIPE, read_sequences, read_titles
from m6rec_plugin_zeroshot.sample import ChoiceSample

from m6rec_core.errors import DataError
from m6rec_core.logs.sample_files import read_sample_file
from m6rec_core.text.domains import check_domain

ROOT = Path(__file__).resolve().parents[3]
PUBLIC = Path(os.environ.get("M6REC_SHARED_DATA", ROOT.parent / "shared" / "data")) / "amazon-games"


def files(folder, sequences, titles=30, packed=True):
    folder.mkdir(exist_ok=True)
    lines = {"items": ["item_id:token\ttitle:token_seq", *(f"{n}\tGame {n}" for n in range(titles))],
             "sequences": ["user_id\titem_id_list\titem_id", *sequences]}  # fmt: skip
    for name, rows in lines.items():
        text = "\n".join(rows) + "\n"
        if packed:
            (folder / f"{name}.tsv.gz").write_bytes(gzip.compress(text.encode()))
        else:
            (folder / f"{name}.tsv").write_text(text)
    return folder


@pytest.mark.parametrize("packed", [True, False])
def test_sequences_become_samples(tmp_path, packed):
    rows = [f"{u}\t{' '.join(str((u + n) % 30) for n in range(6))}\t{(u + 6) % 30}" for u in range(20)]
    target = tmp_path / "out"
    target.mkdir()
    RECIPE.write(files(tmp_path / "in", rows, packed=packed), target)
    parts = {
        p: [s.sample for s in read_sample_file(target / f"{p}.jsonl", ChoiceSample)] for p in ("train", "valid", "test")
    }
    assert {part: len(found) for part, found in parts.items()} == {"test": 2, "valid": 2, "train": 16}
    for part, found in parts.items():
        for sample in found:
            user = int(sample.user_id)
            right = sample.choices[sample.label[0]]
            assert right.id == str((user + 6) % 30)
            assert right.text == f"Game {right.id}"
            assert sample.context_ids == tuple(str((user + n) % 30) for n in range(1, 6))
            assert len(sample.choices) == (2 if part == "train" else 5)
            assert not {c.id for c in sample.choices if c is not right} & {str((user + n) % 30) for n in range(7)}


@pytest.mark.parametrize(("row", "said"), [
    ("0\t1 2", r"sequences\.tsv\.gz, line 2: 2 fields, expected 3"),
    ("0\t1 99\t2", r"sequences\.tsv\.gz, line 2, field 'item_id_list': item '99' has no title"),
])  # fmt: skip
def test_what_is_wrong_names_file_and_line(tmp_path, row, said):
    folder = files(tmp_path / "in", [row])
    with pytest.raises(DataError, match=said):
        list(read_sequences(folder / "sequences.tsv.gz", read_titles(folder / "items.tsv.gz")))


def test_missing_files_and_repeated_items(tmp_path):
    with pytest.raises(DataError, match="there is no items"):
        RECIPE.write(tmp_path, tmp_path)
    with pytest.raises(DataError, match="--from DIR"):
        RECIPE.write(None, tmp_path)
    (tmp_path / "items.tsv").write_text("item_id\ttitle\n1\ta\n1\tb\n")
    with pytest.raises(DataError, match="line 3, field 'item_id': '1' was already given"):
        read_titles(tmp_path / "items.tsv")


def test_the_domain_is_well_formed():
    assert check_domain(GAMES, "m6rec-plugin-zeroshot") is GAMES


@pytest.mark.skipif(not PUBLIC.is_dir(), reason="the public amazon-games files are not here (M6REC_SHARED_DATA)")
def test_the_public_files(tmp_path):
    titles = read_titles(PUBLIC / "items.tsv.gz")
    people = list(read_sequences(PUBLIC / "sequences.tsv.gz", titles))
    assert len(titles) == 16_859
    assert len(people) == 50_546
