"""`m6rec reviews`: own reviews become samples. `m6rec features`: what is mined, and how it agrees with people."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Sequence

    from m6rec_plugin_explanation.mining.agreement import Agreement

FILE = click.Path(path_type=Path)


@click.command()
@click.option("--input", "source", type=FILE, required=True, help="Reviews, JSON lines, also .gz.")
@click.option("--items", type=FILE, help="Columns of the items, JSON lines: item_id, title, category, description.")
@click.option("--output", type=FILE, required=True, help="Folder to write to: new, or empty.")
@click.option("--liked", type=float, default=4.0, show_default=True, help="Lowest rating that is explained.")
@click.option("--domain", default="products", show_default=True, help="How the data are spoken about.")
def reviews(source: Path, items: Path | None, output: Path, liked: float, domain: str) -> None:
    """Choose from each review the sentence that says what the user likes; write train, valid and test samples."""
    from m6rec_core.errors import DataError
    from m6rec_core.text.domains import load_domain
    from m6rec_plugin_explanation.choosing import ReviewRule
    from m6rec_plugin_explanation.recipes import write_chosen
    from m6rec_plugin_explanation.reviews import read_items, read_reviews

    card = {"name": output.resolve().name, "domain": load_domain(domain).name, "terms": ""}
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise DataError(f"--output {output}: it is not empty; name another folder")
    read = read_reviews(source, read_items(items) if items is not None else None)
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{output.name}-", dir=output.parent) as scratch:
            finished = Path(scratch) / "finished"
            finished.mkdir()
            write_chosen(finished, read, ReviewRule(liked=liked))
            (finished / "dataset.json").write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")
            finished.replace(output)
    except OSError as error:
        raise DataError(f"--output {output}: cannot be written ({error.strerror or error})") from error
    click.echo(str(output))


@click.command()
@click.option("--input", "source", type=FILE, help="Reviews, JSON lines, also .gz: print their features.")
@click.option("--annotated", type=FILE, help="Sentences with features that people found: print the agreement.")
@click.option("--show", type=click.IntRange(min=1), default=40, show_default=True, help="Features printed.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def features(source: Path | None, annotated: Path | None, show: int, as_json: bool) -> None:
    """Print the features mined from reviews, or how mined features agree with annotated ones."""
    if (source is None) == (annotated is None):
        raise click.UsageError("give --input FILE or --annotated FILE, one of them")
    if annotated is not None:
        from m6rec_plugin_explanation.mining.agreement import agreements, read_annotated

        _show_agreement(agreements(read_annotated(annotated)), as_json)
    elif source is not None:
        from m6rec_plugin_explanation.mining.features import mine
        from m6rec_plugin_explanation.mining.sentences import sentences_of, tokens_of
        from m6rec_plugin_explanation.reviews import read_reviews

        texts = [review.text for review in read_reviews(source).reviews]
        found = list(mine([tokens_of(s) for text in texts for s in sentences_of(text)]).features.items())[:show]
        if as_json:
            click.echo(json.dumps(dict(found), ensure_ascii=False, indent=2))
        else:
            for name, count in found:
                click.echo(f"{count:>7,}  {name}")


def _show_agreement(found: Sequence[Agreement], as_json: bool) -> None:
    from dataclasses import asdict

    from m6rec_plugin_explanation.mining.agreement import mean

    if as_json:
        click.echo(json.dumps({"products": [asdict(one) for one in found], "mean": mean(found)}, indent=2))
        return
    click.echo("product, sentences, features mined, annotated, precision, recall, precision and recall by sentence")
    for one in found:
        numbers = (one.precision, one.recall, one.sentence_precision, one.sentence_recall)
        shown = "  ".join(f"{number:.3f}" for number in numbers)
        click.echo(f"{one.product}  {one.sentences:,}  {one.mined:,}  {one.annotated:,}  {shown}")
    click.echo(f"mean  {'  '.join(f'{number:.3f}' for number in mean(found).values())}")
