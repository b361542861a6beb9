"""XRec's lines: where the summaries go, users drawn into parts, the published parts, and what is wrong with a file."""

from __future__ import annotations

import gzip
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from m6rec_plugin_explanation.recipes import XREC, write_xrec
from m6rec_plugin_explanation.sample import ExplanationSample
from m6rec_plugin_explanation.serialize import serialize
from m6rec_plugin_explanation.settings import ExplanationConfig
from m6rec_plugin_explanation.xrec import DESCRIBED, drawn

from m6rec_core.errors import DataError
from m6rec_core.logs import read_samples
from m6rec_core.logs.datasets import prepare
from m6rec_core.text.domains import load_domain
from m6rec_core.types import Item

PARTS = ("train", "valid", "test")


def line(n, **changed):
    row = {"uid": n % 20, "iid": f"b{n}", "title": "Salt &amp; Sea", "user_summary": "Likes  calm books.",
           "item_summary": "Fans of the sea would enjoy it.", "explanation": f"The user would\nbuy {n}."}  # fmt: skip
    return json.dumps({**row, **changed})


def read(folder):
    return {part: list(read_samples(folder / f"{part}.jsonl", ExplanationSample)) for part in PARTS}


@pytest.fixture
def folders(tmp_path):
    source, target = tmp_path / "xrec", tmp_path / "out"
    source.mkdir()
    target.mkdir()
    return source, target


def test_one_file_is_drawn_by_users(folders, capsys):
    source, target = folders
    rows = [*(line(n) for n in range(60)), line(3), line(4, explanation=" "), line(61, title="", item_summary=" ")]
    (source / "books_test.jsonl.gz").write_bytes(gzip.compress("\n".join(rows).encode()))
    (source / "tst.pkl").write_bytes(b"never read")
    write_xrec(source, target)
    parts = read(target)
    users = [{sample.user_id for sample in parts[part]} for part in PARTS]
    assert [len(one) for one in users] == [16, 2, 2]
    assert len(set.union(*users)) == 20
    assert sum(map(len, parts.values())) == 61
    told = capsys.readouterr().err
    assert "drawn       the users of books_test.jsonl.gz, by a fixed seed" in told
    assert "left out    1 given twice, 1 without an explanation" in told
    bare = next(sample for one in parts.values() for sample in one if sample.item.item_id == "b61")
    assert bare.item.fields == {}
    assert "language model" in XREC.terms
    assert "uid, iid, title" in XREC.source


def test_summaries_are_in_the_text(folders):
    source, target = folders
    (source / "a.jsonl").write_text("\n".join(line(n) for n in range(20)))
    write_xrec(source, target)
    sample = next(sample for one in read(target).values() for sample in one if sample.id == "x8")
    assert load_domain(XREC.domain) is DESCRIBED
    [row] = serialize(sample, ExplanationConfig(domain=DESCRIBED)).rows
    assert "".join(segment.text for segment in row.segments) == (
        'Likes calm books.\nan item named "Salt & Sea"\nProduct details: Fans of the sea would enjoy it.\n'
        "The user likes it because The user would buy 7.\n"
    )


def test_published_parts_stay(folders, capsys):
    source, target = folders
    for name, start in {"trn": 0, "val": 10, "tst": 20}.items():
        (source / f"{name}.jsonl").write_text("\n".join([line(start), line(start + 1), line(0)]))
    write_xrec(source, target)
    ids = {part: [sample.id for sample in samples] for part, samples in read(target).items()}
    assert ids == {"train": ["trn1", "trn2"], "valid": ["val1", "val2"], "test": ["tst1", "tst2"]}
    told = capsys.readouterr().err
    assert "drawn" not in told
    assert "3 given twice" in told
    (source / "val.jsonl").unlink()
    with pytest.raises(DataError, match=r"there is none of val\.jsonl"):
        write_xrec(source, target)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", r"a.jsonl, line 1: is not JSON"),
        ("\n[]", r"a.jsonl, line 2: is list, not an object"),
        (line(1, uid=None), r"a.jsonl, line 1, field 'uid': is missing or of the wrong type"),
        (line(1, user_summary=["x"]), r"a.jsonl, line 1, field 'user_summary'"),
        (line(1, explanation=3), r"a.jsonl, line 1, field 'explanation'"),
        ("", r"a.jsonl: no row has an explanation that is new .it is empty"),
        (line(1, explanation=""), r"no row has an explanation that is new .1 without an explanation"),
        ("\n".join(line(n) for n in range(5)), r"a.jsonl: too few users .5. for a valid part"),
    ],
)
def test_xrec_says_what_is_wrong(folders, tmp_path, content, said):
    source, _ = folders
    (source / "a.jsonl").write_text(content)
    with pytest.raises(DataError, match=said):
        prepare("xrec", tmp_path / "made", progress=False, source=source)
    assert not (tmp_path / "made").exists()


def test_xrec_needs_one_file(folders):
    source, target = folders
    with pytest.raises(DataError, match="needs --from DIR"):
        write_xrec(None, target)
    (source / "tst.pkl").write_bytes(b"never read")
    with pytest.raises(DataError, match="pickles are not read"):
        write_xrec(source, target)
    for name in ("google_test.jsonl.gz", "amazon_test.jsonl"):
        (source / name).write_bytes(b"")
    with pytest.raises(DataError, match=r"amazon_test\.jsonl and google_test\.jsonl\.gz are both there"):
        write_xrec(source, target)


@given(users=st.lists(st.integers(min_value=0, max_value=40), max_size=80))
@settings(max_examples=50, deadline=None)
def test_no_user_is_in_two_parts(users):
    item = Item(item_id="i", fields={})
    samples = [ExplanationSample(id=str(n), user_id=str(user), item=item) for n, user in enumerate(users)]
    parts = drawn(samples)
    homes = {(sample.user_id, part) for part, one in parts.items() for sample in one}
    assert len(homes) == len(set(users))
    assert sorted(sample.id for one in parts.values() for sample in one) == sorted(sample.id for sample in samples)
    assert parts == drawn(samples)
