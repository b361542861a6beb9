"""Settings of the task: which text form, which statistics are written as words, whether numbers calibrate the score."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import model_validator

from m6rec_core.config import HistoryRule, SamplingConfig, TaskConfig

Form = Literal["in-context", "paper"]


class CtrConfig(TaskConfig):
    """`form`: "in-context" writes one line per event with its outcome, "paper" the sentences of section 3.2.

    `item_words`, `user_words`: write the candidate's and the user's rate, counted strictly before, in words.
    `history_words`: write the item's rate in the history's lines too (with `item_words`). `short_words`: one
    adjective ("great") in the lines instead of a phrase ("loved by most viewers"): a fifth fewer tokens.
    `calibration`: add a linear function of the numeric statistics to the option logits, reported apart from the text
    alone; `text_weight`: the weight that the text's log odds start with beside it.
    """

    form: Form = "in-context"
    item_words: bool = True
    history_words: bool = True
    short_words: bool = True
    user_words: bool = False
    user_phrase: bool = True
    calibration: bool = True
    text_weight: float = 0.1
    sampling: SamplingConfig = SamplingConfig(history=HistoryRule(events=10, stride=20))

    @model_validator(mode="before")
    @classmethod
    def _words_of_the_form(cls, values: Any) -> Any:
        """Answer words and instruction follow from the form and the domain unless they are given."""
        if not isinstance(values, dict) or values.get("domain") is None:
            return values
        domain = values["domain"]
        field = domain.get if isinstance(domain, dict) else lambda name, default="": getattr(domain, name, default)
        paper = values.get("form", "in-context") == "paper"
        filled = dict(values)
        if not filled.get("options"):
            answers = ("No", "Yes") if paper else (field("disliked", "disliked"), field("liked", "liked"))
            filled["options"] = tuple(f" {word}" for word in answers)
        if not filled.get("instruction"):
            filled["instruction"] = (
                f"Will the user like the last {field('noun')}? Judge by taste and by what others say."
            )
        return filled
