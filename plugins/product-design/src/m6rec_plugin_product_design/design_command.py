"""`m6rec design`: design products with a task pack."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from m6rec_plugin_product_design.pictures import Painted
    from m6rec_plugin_product_design.sample import DesignPrediction, DesignSample

FILE = click.Path(path_type=Path)


@click.command()
@click.option("--pack", type=FILE, required=True, help="Task pack of a run of product-design.")
@click.option("--input", "source", type=FILE, help="Samples, .jsonl or .parquet: history, attributes, user.")
@click.option("--bought", multiple=True, help='What the user bought, oldest first: "title" or "category | title".')
@click.option("--user", "person", multiple=True, help="What is known of the user: age=24. As often as needed.")
@click.option("--wish", "wished", multiple=True, help="What the product shall be: colour=blue. As often as needed.")
@click.option("--category", help="Design products of this category; the title alone is written.")
@click.option("--n", "count", type=click.IntRange(min=1), default=3, show_default=True, help="Designs per sample.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of drawing designs.")
@click.option("--catalogue", type=FILE, help="Text file: titles that exist, one a line; says which designs are copies.")
@click.option("--pictures", type=FILE, help="New folder for a picture of each design.")
@click.option("--pipeline", help="What paints: a name of m6rec.image_pipelines, such as diffusers:FOLDER.")
@click.option("--backbone", help="Known name, folder, or hub id. Default: the one the pack names.")
@click.option("--precision", type=click.Choice(["auto", "bf16", "fp32", "fp64"]), help="Number format.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def design(  # noqa: PLR0913, PLR0917 - one parameter per option
    pack: Path,
    source: Path | None,
    bought: tuple[str, ...],
    person: tuple[str, ...],
    wished: tuple[str, ...],
    category: str | None,
    count: int,
    seed: int,
    catalogue: Path | None,
    pictures: Path | None,
    pipeline: str | None,
    backbone: str | None,
    precision: str | None,
    as_json: bool,
) -> None:
    """Design products for a user, or for every sample of a file."""
    own = bool(bought or person or wished) or (category is not None and source is None)
    if own == (source is not None):
        raise click.UsageError("give --input FILE, or some of --bought, --user, --wish and --category")
    if (pictures is None) != (pipeline is None):
        raise click.UsageError("--pictures DIR and --pipeline NAME go together")
    from m6rec_core.generation import open_pipeline
    from m6rec_core.serving.opening import open_pack
    from m6rec_plugin_product_design.pictures import check_folder, paint
    from m6rec_plugin_product_design.sample import DesignPrediction

    samples = _samples(source, bought, person, wished, category)
    known = _titles(catalogue) if catalogue is not None else None
    if pictures is not None:
        check_folder(pictures)
    painter = open_pipeline(pipeline) if pipeline is not None else None
    settings: dict[str, Any] = {"best": count, "seed": seed}
    opened = open_pack(
        pack, backbone, precision, lambda line: click.echo(line, err=True), settings, task="product-design"
    )
    answers = [one for one in opened.predict(samples) if isinstance(one, DesignPrediction)]
    painted: list[Painted] = []
    if painter is not None and pictures is not None:
        found = [
            (answer.id, number, kind, title)
            for answer in answers
            for number, (kind, title) in enumerate(zip(answer.categories, answer.texts, strict=True), start=1)
        ]
        painted = paint(painter, found, pictures, seed)
    _show(answers, known, {(one.sample, one.number): one.picture for one in painted}, as_json)


def _samples(
    source: Path | None, bought: Sequence[str], person: Sequence[str], wished: Sequence[str], category: str | None
) -> list[DesignSample]:
    from pydantic import ValidationError

    from m6rec_core.errors import DataError
    from m6rec_core.logs.sample_files import read_sample_file
    from m6rec_core.text.template import clean
    from m6rec_core.types import Event, Item
    from m6rec_plugin_product_design.sample import DesignSample

    if category is not None and not clean(category):
        raise DataError("--category: it is blank; name one, or leave it out and it is designed too")
    if source is not None:
        found = [placed.sample for placed in read_sample_file(source, DesignSample)]
        if category is None:
            return found
        return [one.model_copy(update={"title": None, "category": category}) for one in found]
    events = []
    for place, text in enumerate(bought):
        kind, between, title = text.partition(" | ")
        fields = {"category": clean(kind), "title": clean(title)} if between else {"title": clean(text)}
        if not fields["title"]:
            raise DataError(f"--bought {text!r}: the title is blank")
        events.append(Event(item=Item(item_id=str(place), fields=fields), kind="purchase", timestamp=float(place)))
    user, wishes = _pairs("--user", person), _pairs("--wish", wished)
    try:
        sample = DesignSample(id="user", user=user, history=tuple(events), attributes=wishes, category=category or "")
    except ValidationError as error:
        raise DataError("there is nothing to design from: give --bought, --wish or --category") from error
    return [sample]


def _pairs(option: str, given: Sequence[str]) -> dict[str, str]:
    from m6rec_core.errors import DataError

    found: dict[str, str] = {}
    for one in given:
        name, between, text = one.partition("=")
        if not between or not name.strip() or not text.strip():
            raise DataError(f"{option} {one!r}: write name=text, such as colour=blue")
        found[name.strip()] = text.strip()
    return found


def _titles(path: Path) -> frozenset[str]:
    """The titles of a file, as they are compared; a title that is there twice counts once."""
    from m6rec_core.errors import DataError
    from m6rec_core.logs.source_files import text_lines
    from m6rec_core.metrics.text.novelty import normalised

    found = frozenset(normalised(line) for line in text_lines(path, "--catalogue", "title")) - {""}
    if not found:
        raise DataError(f"--catalogue {path}: there is no title in it; write one a line")
    return found


def _show(
    answers: Sequence[DesignPrediction],
    known: frozenset[str] | None,
    pictures: Mapping[tuple[str, int], str],
    as_json: bool,
) -> None:
    from m6rec_core.metrics.text.novelty import normalised

    rows: list[dict[str, Any]] = []
    for answer in answers:
        designs = []
        for number, title in enumerate(answer.texts, start=1):
            one: dict[str, Any] = {
                "category": answer.categories[number - 1],
                "title": title,
                "log_likelihood": answer.log_likelihoods[number - 1],
            }
            if known is not None:
                one["copy"] = normalised(title) in known
            if (answer.id, number) in pictures:
                one["picture"] = pictures[answer.id, number]
            designs.append(one)
        rows.append({"id": answer.id, "designs": designs})
    if as_json:
        click.echo(json.dumps(rows, indent=2, ensure_ascii=False))
        return
    for place, row in enumerate(rows):
        if len(rows) > 1:
            click.echo(f"{chr(10) if place else ''}{row['id']}")
        for one in row["designs"]:
            notes = [note for note in ("exists already" if one.get("copy") else "", one.get("picture", "")) if note]
            name = f"{one['category']} | {one['title']}" if one["category"] else one["title"]
            click.echo(f"{name}  ({', '.join(notes)})" if notes else name)
        if not row["designs"]:
            click.echo("(no design: nothing was written)")
    if known is not None:
        copies = [one["copy"] for row in rows for one in row["designs"]]
        click.echo(f"{sum(copies)} of {len(copies)} designs are titles of the catalogue", err=True)
