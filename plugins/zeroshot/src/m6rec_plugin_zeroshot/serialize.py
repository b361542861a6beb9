"""A sample as text: one row per prompt form and choice, and one per choice without the context where a prior is asked.

    Movies like Toy Story, Babe, Antz,| Shrek
    Movies like Toy Story, Babe, Antz,| Heat
    Movies:| Shrek
    Movies:| Heat

The scored text is what follows the bar. All rows of one form begin alike, so the core computes the user's text once.
"""

from __future__ import annotations

from m6rec_core.text.template import clean
from m6rec_core.types import Region, Segment, Serialized, TextRow
from m6rec_plugin_zeroshot.prompts import PROMPTS, Prompt
from m6rec_plugin_zeroshot.sample import ChoiceSample
from m6rec_plugin_zeroshot.settings import ZeroshotConfig

TEXT = "text"
"""Name of the only form of a sample whose context is a text: the context itself."""


def forms(sample: ChoiceSample, config: ZeroshotConfig) -> tuple[str, ...]:
    """Names of the prompt forms that the rows of a sample are written in."""
    return (TEXT,) if isinstance(sample.context, str) else config.prompts


def serialize(sample: ChoiceSample, config: ZeroshotConfig) -> Serialized:
    """Rows in the order form by form, choice by choice; then the rows of the prior. The label is never looked at."""
    beginnings = [_text(sample.context)] if isinstance(sample.context, str) else [
        _beginning(sample.context, PROMPTS[name], config) for name in config.prompts
    ]  # fmt: skip
    if config.normalise == "prior":
        beginnings.append(_text(config.neutral_prompt))
    texts = [clean(choice.text) for choice in sample.choices]
    return Serialized(tuple(_row(beginning, text, config.markers) for beginning in beginnings for text in texts))


def _text(context: str) -> tuple[Segment, ...]:
    """The context as it stands; its last blanks go, because the choice brings its own."""
    return (Segment(context.rstrip(" "), Region.BIDIRECTIONAL),)


def _beginning(titles: tuple[str, ...], prompt: Prompt, config: ZeroshotConfig) -> tuple[Segment, ...]:
    if not titles:
        return _text(config.neutral_prompt)
    opening = prompt.open(config.thing)
    segments = [Segment(opening, Region.BIDIRECTIONAL)] if opening else []
    for place, title in enumerate(titles):
        blank = " " if opening or place else ""
        segments.append(
            Segment(f"{blank}{clean(title)}{prompt.joint}", Region.BIDIRECTIONAL, droppable=len(titles) > 1)
        )
    if len(titles) > 1:
        # The newest title stays, whatever the budget: without any the row would begin with the choice.
        segments[-1] = Segment(segments[-1].text, Region.BIDIRECTIONAL)
    if prompt.bridge:
        segments.append(Segment(prompt.bridge, Region.AUTOREGRESSIVE))
    return tuple(segments)


def _row(beginning: tuple[Segment, ...], text: str, markers: bool) -> TextRow:
    line_ends = beginning[-1].text.endswith(("\n", "\t"))
    choice = Segment(text if line_ends else f" {text}", Region.AUTOREGRESSIVE, scored=True)
    return TextRow((*beginning, choice), markers=markers)
