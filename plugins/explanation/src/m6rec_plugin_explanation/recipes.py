"""The data sets: Rent the Runway from the package index; Amazon reviews, PETER's layout and XRec from folders."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import click

from m6rec_core.errors import DataError
from m6rec_core.logs.jsonl import write_samples
from m6rec_core.logs.recipes import Recipe
from m6rec_core.logs.source_files import find
from m6rec_plugin_explanation.choosing import ChosenSamples, ReviewRule, choose
from m6rec_plugin_explanation.peter import INDICES, read_peter
from m6rec_plugin_explanation.reviews import ReadReviews, read_items, read_reviews, told
from m6rec_plugin_explanation.runway import ASSET, CLOTHES, FILE, TERMS, read_runway
from m6rec_plugin_explanation.sample import ExplanationSample
from m6rec_plugin_explanation.xrec import DESCRIBED, read_file, read_folder
from m6rec_plugin_explanation.xrec import FILES as XREC_FILES
from m6rec_plugin_explanation.xrec import TERMS as XREC_TERMS

RUNWAY_RULE = ReviewRule(liked=8.0)
"""Ratings of Rent the Runway go from 2 to 10."""

ENDINGS = (".json", ".jsonl", ".json.gz", ".jsonl.gz")
FEATURES = "features.json"
"""Beside the samples: the mined features with the number of their training sentences."""


def write_runway(source: Path | None, target: Path) -> None:
    """Write samples of the CSV file in `source`. DataError naming the file."""
    if source is None:
        raise DataError("rent-the-runway needs its file; m6rec data prepare fetches it")
    write_chosen(target, read_runway(source / FILE), RUNWAY_RULE)


def write_amazon(source: Path | None, target: Path) -> None:
    """Write samples of the one review file in `source`, with titles and descriptions where a metadata file is there.

    Raises DataError naming file and row.
    """
    if source is None:
        raise DataError(f"amazon-reviews needs --from DIR with {AMAZON.source}")
    files = [path for path in sorted(source.iterdir()) if path.name.endswith(ENDINGS)]
    meta = _one([path for path in files if "meta" in path.name.lower()])
    reviews = _one([path for path in files if path != meta])
    if reviews is None:
        raise DataError(
            f"{source}: there is no file of reviews in it that ends in .json, .jsonl, .json.gz or .jsonl.gz"
        )
    write_chosen(target, read_reviews(reviews, read_items(meta) if meta else None), ReviewRule())


def write_peter(source: Path | None, target: Path) -> None:
    """Write samples of PETER's layout in `source`, its parts as they are. DataError naming file and row."""
    if source is None:
        raise DataError(f"peter needs --from DIR with {PETER.source}")
    parts = read_peter(source)
    write_parts(target, parts)


def write_xrec(source: Path | None, target: Path) -> None:
    """Write samples of the three parts in `source` as they are, or of its one file with its users drawn into parts.

    Raises DataError naming file, line and field.
    """
    if source is None:
        raise DataError(f"xrec needs --from DIR with {XREC.source}")
    if find(source, (XREC_FILES["train"],)) is not None:
        read = read_folder(source)
    else:
        path = _one([path for path in sorted(source.iterdir()) if path.name.endswith((".jsonl", ".jsonl.gz"))])
        if path is None:
            raise DataError(f"{source}: there is no file in it that ends in .jsonl or .jsonl.gz; pickles are not read")
        read = read_file(path)
        click.echo(
            f"drawn       the users of {path.name}, by a fixed seed; these are not the published parts", err=True
        )
    write_parts(target, read.parts)
    tell_left_out(read.skipped)


def write_chosen(target: Path, read: ReadReviews, rule: ReviewRule) -> ChosenSamples:
    """Choose samples of reviews, write them and the features, and tell on standard error what was left out."""
    chosen = choose(read.reviews, rule)
    write_parts(target, chosen.parts)
    (target / FEATURES).write_text(json.dumps(chosen.mined.features, ensure_ascii=False, indent=0) + "\n", "utf-8")
    click.echo(f"reviews     {len(read.reviews):,}, {len(chosen.mined.features):,} features mined", err=True)
    tell_left_out({**read.skipped, **chosen.skipped})
    return chosen


def tell_left_out(counts: Mapping[str, int]) -> None:
    """Say on standard error how many rows were left out for which reason, if any."""
    if counts:
        click.echo(f"left out    {told(counts)}", err=True)


def write_parts(target: Path, parts: Mapping[str, tuple[ExplanationSample, ...]]) -> None:
    """Write train, valid and test sample files."""
    for part, samples in parts.items():
        write_samples(target / f"{part}.jsonl", samples)
    click.echo(f"samples     {', '.join(f'{part} {len(samples):,}' for part, samples in parts.items())}", err=True)


def _one(files: Sequence[Path]) -> Path | None:
    """The one file; None where there is none, DataError where there are several."""
    if len(files) > 1:
        raise DataError(f"{files[0].parent}: {files[0].name} and {files[1].name} are both there; leave one of them")
    return files[0] if files else None


RUNWAY = Recipe(
    name="rent-the-runway",
    summary="reviews of rented clothes: why people like what they wore",
    terms=TERMS,
    write=write_runway,
    domain=CLOTHES.name,
    asset=ASSET,
)
AMAZON = Recipe(
    name="amazon-reviews",
    summary="Amazon reviews of one department, in the public form of UCSD",
    terms="Amazon review data (UCSD, McAuley et al.), no licence stated: for research; bring the files yourself",
    write=write_amazon,
    source="one file of reviews (JSON lines: reviewerID, asin, overall, unixReviewTime, reviewText) and, if you like, "
    "one of metadata (meta..., JSON lines: asin, title, category, description); .json, .jsonl, also .gz",
)
PETER = Recipe(
    name="peter",
    summary="reviews in the layout of PETER and NETE, their published parts",
    terms="those of the data set that you bring",
    write=write_peter,
    source=f"reviews.json (the published reviews.pickle as JSON) and {', '.join(INDICES.values())}",
)
XREC = Recipe(
    name="xrec",
    summary="why users would like books, places or businesses, from summaries of both, by a language model",
    terms=XREC_TERMS,
    write=write_xrec,
    domain=DESCRIBED.name,
    source="one file of a department (JSON lines: uid, iid, title, user_summary, item_summary, explanation), "
    f".jsonl, also .gz, or the parts {', '.join(XREC_FILES.values())}",
)
