"""What goes in and what comes out of the task."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field

from m6rec_core.types import Event, Item, Prediction, Sample


class RetrievalSample(Sample):
    """A user and what they did next, or one of the two.

    With a `history` (oldest first) it asks for the user's vector, with a `candidate` alone for the item's. A training
    sample has both: the candidate is what came next. `negatives`: items that the user shall not be near. `log_share`:
    log of the candidate's share of the training pairs, for the correction of the in-batch sampling bias.
    """

    user_id: str = ""
    user: Mapping[str, str] = Field(default_factory=dict)
    history: tuple[Event, ...] = ()
    candidate: Item | None = None
    negatives: tuple[Item, ...] = ()
    timestamp: float = 0.0
    log_share: float = 0.0

    @property
    def group(self) -> str:
        """The pairs of one user: their histories begin alike."""
        return self.user_id or self.id


class RetrievalPrediction(Prediction):
    """The vector of the sample's user where it has a history, else that of its item; of length 1."""

    vector: tuple[float, ...]


def item_sample(item: Item) -> RetrievalSample:
    """A sample that asks for the item's vector."""
    return RetrievalSample.model_construct(id=f"item:{item.item_id}", candidate=item)


def user_sample(sample: RetrievalSample) -> RetrievalSample:
    """The sample without the answer: it asks for the user's vector."""
    return sample.model_copy(update={"candidate": None, "negatives": (), "log_share": 0.0})
