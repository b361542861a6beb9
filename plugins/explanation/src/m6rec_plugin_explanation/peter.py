"""The layout of PETER (Li et al. 2021) and NETE: reviews with a template, and index files of the parts.

The published `reviews.pickle` is a pickle, which is a program; its owner turns it into `reviews.json` first. Each entry
is {"user", "item", "rating", "template": [feature, adjective, sentence, score]}. `train.index`, `validation.index` and
`test.index`, beside it or in one sub-folder, hold row numbers from 0, parted by blanks.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from m6rec_core.errors import DataError
from m6rec_core.text.template import clean
from m6rec_core.types import Item
from m6rec_plugin_explanation.sample import ExplanationSample

INDICES = {"train": "train.index", "valid": "validation.index", "test": "test.index"}
OFTEN = 5
"""Features said of an item and of a user."""


@dataclass(frozen=True, slots=True)
class Template:
    """One entry."""

    user: str
    item: str
    rating: float | None
    feature: str
    sentence: str


def read_peter(folder: Path) -> dict[str, tuple[ExplanationSample, ...]]:
    """Read a folder as samples by part, the published parts as they are.

    There are no texts of items and users; what an item's and a user's training rows mention most stands in the details
    in their place. Raises DataError naming file and row.
    """
    rows = _templates(folder / "reviews.json")
    parts = {part: _index(_find(folder, name), len(rows)) for part, name in INDICES.items()}
    homes = [(number, part) for part, numbers in parts.items() for number in numbers]
    twice = [number for number, count in Counter(number for number, _ in homes).items() if count > 1]
    if twice:
        raise DataError(f"{folder}: row {twice[0]} is in two index files or twice in one; a row belongs to one part")
    of_item: dict[str, Counter[str]] = defaultdict(Counter)
    of_user: dict[str, Counter[str]] = defaultdict(Counter)
    for number in parts["train"]:
        of_item[rows[number].item][rows[number].feature] += 1
        of_user[rows[number].user][rows[number].feature] += 1
    return {
        part: tuple(_sample(number, rows[number], of_item, of_user) for number in numbers)
        for part, numbers in parts.items()
    }


def _sample(
    number: int, row: Template, of_item: Mapping[str, Counter[str]], of_user: Mapping[str, Counter[str]]
) -> ExplanationSample:
    facts = []
    if row.item in of_item:
        facts.append(f"reviewers mention {_most(of_item[row.item])}")
    if row.user in of_user:
        facts.append(f"this user writes about {_most(of_user[row.user])}")
    return ExplanationSample(
        id=f"t{number}",
        user_id=row.user,
        item=Item(item_id=row.item, fields={"details": "; ".join(facts)} if facts else {}),
        feature=row.feature,
        rating=row.rating,
        explanation=row.sentence,
    )


def _most(counts: Counter[str]) -> str:
    return ", ".join(name for name, _ in counts.most_common(OFTEN))


def _templates(path: Path) -> list[Template]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error}); write reviews.pickle as JSON") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: is not JSON ({error})") from error
    if not isinstance(content, list) or not content:
        raise DataError(f"{path}: is not a list of reviews")
    return [_template(f"{path}, row {number}", row) for number, row in enumerate(content)]


def _template(place: str, row: Any) -> Template:
    if not isinstance(row, dict):
        raise DataError(f"{place}: is {type(row).__name__}, not an object")
    for name in ("user", "item", "template"):
        if row.get(name) is None:
            raise DataError(f"{place}: field {name!r} is missing")
    template = row["template"]
    texts = template[0:3:2] if isinstance(template, Sequence) and len(template) >= 3 else ()
    if len(texts) != 2 or not all(isinstance(text, str) and clean(text) for text in texts):
        raise DataError(f"{place}, field 'template': is not [feature, adjective, sentence, score]")
    rating = row.get("rating")
    given = float(rating) if isinstance(rating, (int, float)) else None
    return Template(str(row["user"]), str(row["item"]), given, clean(texts[0]), clean(texts[1]))


def _find(folder: Path, name: str) -> Path:
    found = [path for path in (folder / name, *sorted(folder.glob(f"*/{name}"))) if path.is_file()]
    if not found:
        raise DataError(f"{folder}: there is no {name}, beside reviews.json or in a sub-folder")
    if len(found) > 1 and found[0].parent != folder:
        raise DataError(
            f"{folder}: {len(found)} sub-folders have {name}; put the three of one split beside reviews.json"
        )
    return found[0]


def _index(path: Path, rows: int) -> list[int]:
    try:
        words = path.read_text(encoding="utf-8").split()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read ({error})") from error
    for word in words:
        if not word.isdigit() or int(word) >= rows:
            raise DataError(f"{path}: {word!r} is no row of reviews.json, which has rows 0 to {rows - 1}")
    if not words:
        raise DataError(f"{path}: there are no rows in it")
    return [int(word) for word in words]
