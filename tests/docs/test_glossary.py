"""The glossary knows every public type, and gives no word twice."""

import inspect
import re
from collections import Counter
from pathlib import Path

from m6rec_core import types

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "glossary.md").read_text()


def test_every_public_type_is_mentioned():
    public = {n for n, v in vars(types).items() if inspect.isclass(v) and v.__module__ == types.__name__}
    mentioned = set(re.findall(r"`(\w+)`", TEXT))
    assert public - mentioned == set()


def test_every_mentioned_type_exists():
    mentioned = set(re.findall(r"`([A-Z]\w+)`", TEXT))
    assert {name for name in mentioned if not hasattr(types, name)} == set()


def test_no_word_is_explained_twice():
    rows = re.findall(r"^\| ([a-z][^|]*?) \| [^|]+ \|$", TEXT, re.MULTILINE)
    words = Counter(word.strip() for row in rows for word in row.split(","))
    assert [word for word, count in words.items() if count > 1 and word not in {"letter", "word"}] == []
    assert len(words) > 40
