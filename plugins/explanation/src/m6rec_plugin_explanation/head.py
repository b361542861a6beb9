"""The head has no parameters: the language model itself is tuned, and writes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from torch import nn

from m6rec_core.generation import write_predictions
from m6rec_core.types import Generate, TaskView
from m6rec_plugin_explanation.sample import ExplanationPrediction, ExplanationSample
from m6rec_plugin_explanation.serialize import serialize
from m6rec_plugin_explanation.settings import ExplanationConfig


class ExplanationHead(nn.Module):
    """Knows the settings."""

    def __init__(self, config: ExplanationConfig) -> None:
        """Take the settings and work out how texts are written."""
        super().__init__()
        self.config = config
        self.decoding = config.writing()


def predictions(head: ExplanationHead, view: TaskView, generate: Generate) -> Sequence[ExplanationPrediction]:
    """Write the explanations of each sample, in order, from its text up to "because"."""
    hidden = [cast(ExplanationSample, sample).model_copy(update={"explanation": None}) for sample in view.samples]
    rows = [serialize(sample, head.config).rows[0] for sample in hidden]
    return write_predictions(ExplanationPrediction, view, rows, generate, head.decoding, head.config.best)
