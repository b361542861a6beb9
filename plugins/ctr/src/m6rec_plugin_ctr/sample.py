"""What goes in and what comes out of the task."""

from __future__ import annotations

from m6rec_core.types import BehaviourSample, Prediction


class CtrSample(BehaviourSample):
    """A user, their history, a candidate, and whether the candidate was clicked, liked or bought (None: to predict)."""

    label: bool | None = None


class CtrPrediction(Prediction):
    """The probability `score` that the outcome is positive, and that of the text alone.

    `text_score` leaves the calibration by numeric statistics out; without calibration the two are equal.
    """

    score: float
    text_score: float
