"""The learning rate as a pure function of the step."""

from __future__ import annotations

import math
from typing import Literal


def lr_factor(step: int, total: int, warmup: float, schedule: Literal["cosine", "linear", "constant"]) -> float:
    """Return what the learning rate is multiplied with at `step` (0 <= step < total).

    The first round(warmup * total) steps rise linearly and end at 1; the rest falls from 1 along half a cosine wave or
    a line that would reach 0 at `total`, or stays at 1.

    Raises:
        ValueError: when the step is outside of the run.
    """
    if not 0 <= step < total:
        raise ValueError(f"step {step} is outside of a run of {total} steps")
    rising = round(warmup * total)
    if step < rising:
        return (step + 1) / rising
    done = (step - rising) / (total - rising)
    if schedule == "cosine":
        return 0.5 * (1.0 + math.cos(math.pi * done))
    return 1.0 - done if schedule == "linear" else 1.0
