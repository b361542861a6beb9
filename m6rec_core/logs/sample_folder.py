"""A data set that is already samples: `train.jsonl`, `valid.jsonl` and `test.jsonl` in one folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from m6rec_core.config import Domain
from m6rec_core.errors import DataError
from m6rec_core.logs.reading import read_card
from m6rec_core.logs.sample_files import SUFFIXES, read_sample_file
from m6rec_core.text.domains import check_domain, load_domain
from m6rec_core.types import Sample

PARTS = ("train", "valid", "test")


@dataclass(frozen=True, slots=True)
class SampleFolder:
    """A folder of sample files (.jsonl or .parquet) and what its dataset.json says. `files`: part -> file."""

    name: str
    domain: Domain
    source: Path
    terms: str
    files: Mapping[str, Path]

    def read(self, sample_type: type[Sample]) -> dict[str, tuple[Sample, ...]]:
        """Read all parts. Raises DataError naming file, line and field, and for an id that is in two parts."""
        parts: dict[str, tuple[Sample, ...]] = dict.fromkeys(PARTS, ())
        home: dict[str, str] = {}
        for part, path in self.files.items():
            placed = list(read_sample_file(path, sample_type))
            for one in placed:
                first = home.setdefault(one.sample.id, part)
                if first != part:
                    raise DataError(
                        f"{one.place}, field 'id': {one.sample.id!r} is in the {first} part too; a sample belongs to "
                        "one part"
                    )
            parts[part] = tuple(one.sample for one in placed)
        return parts


def find_files(folder: Path) -> dict[str, Path]:
    """The sample files of a folder by part; empty where it holds none. DataError when a part is there twice."""
    found: dict[str, Path] = {}
    for part in PARTS:
        paths = [path for suffix in SUFFIXES if (path := folder / f"{part}{suffix}").is_file()]
        if len(paths) > 1:
            raise DataError(f"{folder}: {paths[0].name} and {paths[1].name} are the same part; keep one of them")
        if paths:
            found[part] = paths[0]
    return found


def open_sample_folder(folder: Path) -> SampleFolder:
    """Look at a folder of sample files without reading the samples. Raises DataError when it has no test part."""
    files = find_files(folder)
    if "test" not in files:
        raise DataError(f"{folder}: there is no test.jsonl (or test.parquet); a run needs rows to report on")
    card = read_card(folder)
    domain = card.domain if isinstance(card.domain, Domain) else load_domain(card.domain)
    check_domain(domain, folder.name)
    return SampleFolder(card.name or folder.resolve().name, domain, folder, card.terms, files)
