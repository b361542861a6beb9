"""`m6rec choose`: answer questions of the form "which of these texts", from a file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import click
import numpy as np

from m6rec_plugin_zeroshot.prompts import PROMPTS
from m6rec_plugin_zeroshot.sample import ChoicePrediction, ChoiceSample

FILE = click.Path(path_type=Path)
SHOWN = 60
"""Characters of a context or a choice in the table."""


@click.command()
@click.option("--input", "source", type=FILE, required=True, help="Samples, .jsonl or .parquet: context and choices.")
@click.option("--output", type=FILE, help="Predictions, .jsonl. Default: a table.")
@click.option("--force", is_flag=True, help="Replace an --output that exists.")
@click.option("--pack", type=FILE, help="Task pack of a run. Default: the untuned backbone.")
@click.option("--backbone", help="Known name, folder, or hub id. Default: smollm2-135m, or the one the pack names.")
@click.option("--prompt", "prompts", multiple=True, type=click.Choice(list(PROMPTS)), help="Prompt form (repeatable).")
@click.option("--normalise", type=click.Choice(["sum", "token", "byte", "prior"]), help="How lengths are made equal.")
@click.option("--domain", default="movies", show_default=True, help="Domain, for the words of the prompt forms.")
@click.option("--precision", type=click.Choice(["auto", "bf16", "fp32", "fp64"]), help="Number format.")
@click.option("--json", "as_json", is_flag=True, help="Print measures as JSON.")
def choose(  # noqa: PLR0913, PLR0917 - one parameter per option
    source: Path,
    output: Path | None,
    force: bool,
    pack: Path | None,
    backbone: str | None,
    prompts: tuple[str, ...],
    normalise: str | None,
    domain: str,
    precision: str | None,
    as_json: bool,
) -> None:
    """Choose among texts by likelihood, for every sample of a file; with labels it says how often that is right."""
    if pack is not None and (prompts or normalise):
        raise click.UsageError("--prompt and --normalise belong to the untuned backbone; a pack has its own settings")

    from m6rec_core.errors import DataError
    from m6rec_core.logs.jsonl import write_samples
    from m6rec_core.logs.sample_files import read_sample_file
    from m6rec_plugin_zeroshot.asking import open_task, settings_of

    if output is not None and output.exists() and not force:
        raise DataError(f"--output {output}: the file exists; use --force to replace it")
    samples = [placed.sample for placed in read_sample_file(source, ChoiceSample)]
    opened = open_task(pack, backbone, precision, settings_of(domain, prompts, normalise))
    answers = [answer for answer in opened.predict(samples) if isinstance(answer, ChoicePrediction)]
    if output is not None:
        write_samples(output, answers)
    summary = measures_of(samples, answers)
    if as_json:
        click.echo(json.dumps({"samples": len(samples), **summary}))
        return
    if output is None:
        click.echo(answer_table(samples, answers))
    else:
        click.echo(f"{output}: {len(answers):,} predictions")
    if summary:
        click.echo(", ".join(f"{name} {value:.3f}" for name, value in summary.items()))


def measures_of(samples: Sequence[ChoiceSample], answers: Sequence[ChoicePrediction]) -> dict[str, float]:
    """The measures over the samples with a label; empty when none has one."""
    from m6rec_plugin_zeroshot.evaluate import right
    from m6rec_plugin_zeroshot.measures import measure, scored

    known = [place for place, sample in enumerate(samples) if sample.label is not None]
    if not known:
        return {}
    truth = right([samples[place] for place in known])
    return measure(scored([np.array(answers[place].scores) for place in known], truth))


def answer_table(samples: Sequence[ChoiceSample], answers: Sequence[ChoicePrediction]) -> str:
    """One line per sample: its question, the choice with the highest score, and whether it is right."""
    from m6rec_plugin_zeroshot.asking import text_table

    rows = []
    for sample, answer in zip(samples, answers, strict=True):
        best = int(np.argmax(answer.scores))
        verdict = "" if sample.label is None else "right" if best in sample.label else "wrong"
        context = sample.context if isinstance(sample.context, str) else ", ".join(sample.context)
        rows.append([sample.id, _short(context), _short(sample.choices[best].text), verdict])
    return text_table(["id", "context", "choice", ""], rows)


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= SHOWN else f"{line[: SHOWN - 3]}..."
