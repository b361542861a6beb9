"""`m6rec tags`: a profile of a user in tags, ranked by likelihood (paper 3.2, tag-based user profiles)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from m6rec_core.errors import DataError
from m6rec_plugin_zeroshot.prompts import PROMPTS
from m6rec_plugin_zeroshot.sample import Choice, ChoicePrediction, ChoiceSample

if TYPE_CHECKING:
    from m6rec_core.logs.schema import Logs
    from m6rec_plugin_zeroshot.settings import ZeroshotConfig

FILE = click.Path(path_type=Path)


@click.command()
@click.option("--data", required=True, help="Name of a known data set, or a folder of logs.")
@click.option("--user", required=True, help="A user_id of the data.")
@click.option("--tags", "tag_file", type=FILE, required=True, help="Text file, one tag a line.")
@click.option("--pack", type=FILE, help="Task pack of a run. Default: the untuned backbone.")
@click.option("--backbone", help="Known name, folder, or hub id. Default: smollm2-135m, or the one the pack names.")
@click.option("--prompt", type=click.Choice(list(PROMPTS)), default="interests", show_default=True, help="Prompt form.")
@click.option(
    "--normalise", type=click.Choice(["sum", "token", "byte", "prior"]), default="prior", show_default=True,
    help="How lengths are made equal; prior also takes away how common a tag is.",
)  # fmt: skip
@click.option("--history", type=click.IntRange(min=1), default=10, show_default=True, help="Liked titles to read.")
@click.option("--precision", type=click.Choice(["auto", "bf16", "fp32", "fp64"]), help="Number format.")
@click.option("--json", "as_json", is_flag=True, help="Print the tags with their scores as JSON.")
def tags(  # noqa: PLR0913, PLR0917 - one parameter per option
    data: str,
    user: str,
    tag_file: Path,
    pack: Path | None,
    backbone: str | None,
    prompt: str,
    normalise: str,
    history: int,
    precision: str | None,
    as_json: bool,
) -> None:
    """Rank tags for a user by how likely each is after the titles the user liked last."""
    from m6rec_core.logs.datasets import locate
    from m6rec_core.logs.reading import read_logs
    from m6rec_plugin_zeroshot.asking import open_task, settings_of, text_table

    choices = read_tags(tag_file)
    logs = read_logs(locate(data, progress=not as_json))
    settings = settings_of(logs.domain.name, [prompt], normalise) if pack is None else settings_of("movies", [], None)
    settings = settings.model_copy(update={"domain": logs.domain, "history": history})
    sample = profile_sample(logs, user, choices, settings)
    opened = open_task(pack, backbone, precision, settings)
    [answer] = opened.predict([sample])
    if not isinstance(answer, ChoicePrediction):
        raise TypeError(f"prediction of another task: {type(answer).__name__}")
    ranked = sorted(zip(answer.scores, choices, strict=True), key=lambda pair: -pair[0])
    if as_json:
        found = [{"tag": tag.text, "score": score} for score, tag in ranked]
        click.echo(json.dumps({"user": user, "liked": list(sample.titles), "tags": found}))
        return
    click.echo(f"user {user} liked {', '.join(sample.titles)}")
    click.echo(text_table(["", "tag", "score"], [[str(n), t.text, f"{s:+.3f}"] for n, (s, t) in enumerate(ranked, 1)]))


def read_tags(path: Path) -> tuple[Choice, ...]:
    """Return the tags of a file, one a line. Raises DataError for fewer than two, or one that came before."""
    from m6rec_core.logs.source_files import text_lines

    seen: dict[str, int] = {}
    for number, line in enumerate(text_lines(path, "--tags", "tag"), start=1):
        tag = line.strip()
        if tag and seen.setdefault(tag, number) != number:
            raise DataError(f"{path}, line {number}: tag {tag!r} was already given in line {seen[tag]}")
    if len(seen) < 2:
        raise DataError(f"{path}: {len(seen)} tags; give at least 2, one a line")
    return tuple(Choice(id=tag, text=tag) for tag in seen)


def profile_sample(logs: Logs, user: str, choices: tuple[Choice, ...], config: ZeroshotConfig) -> ChoiceSample:
    """Return the question which tag follows the titles that the user liked last.

    Raises DataError for a user who is not in the logs or liked nothing.
    """
    import dataclasses

    from m6rec_plugin_zeroshot.derive import item_titles, tastes

    titles = item_titles(logs)
    own = dataclasses.replace(logs, events=logs.events[logs.events["user_id"] == user])
    person = tastes(own, config, titles).get(user)
    if person is None:
        raise DataError(f"--user {user!r}: no event of {logs.source} is of this user")
    if not person.liked:
        raise DataError(
            f"--user {user!r}: none of this user's events is a like (a value of at least {config.like_at_least:g})"
        )
    liked = person.liked[-config.history :]
    return ChoiceSample(
        id=user, user_id=user, context=tuple(titles[item] for item in liked), context_ids=liked, choices=choices
    )
