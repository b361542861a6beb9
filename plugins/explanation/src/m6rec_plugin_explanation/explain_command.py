"""`m6rec explain`: why a user would like an item, with a task pack."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from m6rec_plugin_explanation.sample import ExplanationPrediction, ExplanationSample

FILE = click.Path(path_type=Path)


@click.command()
@click.option("--pack", type=FILE, required=True, help="Task pack of a run of explanation.")
@click.option("--user", "user_id", help="Id of a user of --data.")
@click.option("--item", "item_id", help="Id of an item of --data.")
@click.option("--data", help="Name of a data set, or a folder of samples or logs. Default: rent-the-runway.")
@click.option("--input", "source", type=FILE, help="Samples, .jsonl or .parquet, in place of --user and --item.")
@click.option("--feature", help="What the explanation should mention.")
@click.option("--n", "count", type=click.IntRange(min=1), default=1, show_default=True, help="Texts per sample.")
@click.option("--backbone", help="Known name, folder, or hub id. Default: the one the pack names.")
@click.option("--precision", type=click.Choice(["auto", "bf16", "fp32", "fp64"]), help="Number format.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def explain(  # noqa: PLR0913, PLR0917 - one parameter per option
    pack: Path,
    user_id: str | None,
    item_id: str | None,
    data: str | None,
    source: Path | None,
    feature: str | None,
    count: int,
    backbone: str | None,
    precision: str | None,
    as_json: bool,
) -> None:
    """Write why a user would like an item, or do so for every sample of a file."""
    asked = user_id is not None and item_id is not None
    if asked == (source is not None) or (source is not None and any((user_id, item_id, data))):
        raise click.UsageError("give --user ID and --item ID (with --data), or --input FILE, one of them")
    from m6rec_core.serving.opening import open_pack
    from m6rec_plugin_explanation.sample import ExplanationPrediction

    samples = _samples(source, data, user_id or "", item_id or "", feature)

    def say(line: str) -> None:
        click.echo(line, err=True)

    opened = open_pack(pack, backbone, precision, say, {"best": count}, task="explanation")
    answers = [answer for answer in opened.predict(samples) if isinstance(answer, ExplanationPrediction)]
    _show(samples, answers, as_json)


def _samples(
    source: Path | None, data: str | None, user_id: str, item_id: str, feature: str | None
) -> list[ExplanationSample]:
    from m6rec_core.errors import DataError
    from m6rec_core.logs.sample_files import read_sample_file
    from m6rec_core.text.template import clean
    from m6rec_plugin_explanation.lookup import look_up
    from m6rec_plugin_explanation.plugin import MANIFEST
    from m6rec_plugin_explanation.sample import ExplanationSample

    if feature is not None and not clean(feature):
        raise DataError("--feature: it is blank; say what the explanation should mention, or leave it out")
    if source is None:
        samples = [look_up(data or MANIFEST.default_data, user_id, item_id)]
    else:
        samples = [placed.sample for placed in read_sample_file(source, ExplanationSample)]
    changed = {"explanation": None} if feature is None else {"explanation": None, "feature": clean(feature)}
    return [sample.model_copy(update=changed) for sample in samples]


def _show(samples: Sequence[ExplanationSample], answers: Sequence[ExplanationPrediction], as_json: bool) -> None:
    from m6rec_core.generation import scored_texts, told_texts

    if as_json:
        rows = [
            {
                "id": answer.id,
                "user": sample.user_id,
                "item": sample.item.item_id,
                "feature": sample.feature,
                "explanations": scored_texts(answer),
            }
            for sample, answer in zip(samples, answers, strict=True)
        ]
        click.echo(json.dumps(rows, indent=2, ensure_ascii=False))
        return
    click.echo("\n".join(told_texts(answers, "(nothing was written)")))
