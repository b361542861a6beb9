"""The heads: what makes unit vectors of users and items, and the softmax over the items of a step (paper 3.2)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from m6rec_core.errors import DataError
from m6rec_core.heads.projection import ContrastiveProjection, in_batch_losses
from m6rec_core.types import BackboneSpec, Item, Prediction, RowStates, Sample, TaskView
from m6rec_plugin_retrieval.event_encoder import EventEncoder
from m6rec_plugin_retrieval.event_fit import FitPlan, fit_events, user_sequences
from m6rec_plugin_retrieval.sample import RetrievalPrediction, RetrievalSample
from m6rec_plugin_retrieval.settings import RetrievalConfig
from m6rec_plugin_retrieval.start import fitted

KNOWN_TEXTS = 4096
"""So many texts are remembered unless the settings say otherwise."""
KNOWN_SHARE = 0.005
"""Of the backbone's parameters: half of what a task may add (paper 3.2) is left to the rest."""


class VectorHead(Protocol):
    """What turns the states of a view into vectors of length 1."""

    config: RetrievalConfig

    def users(self, states: Tensor, first: Tensor, count: Tensor) -> Tensor:
        """Vectors [N, width] of users whose rows are first .. first + count - 1 of `states` [R, D], oldest first."""
        ...

    def items(self, states: Tensor) -> Tensor:
        """Vectors [N, width] of items from the states [N, D] of their rows."""
        ...

    def scale(self) -> Tensor | float:
        """What scores are multiplied by: 1 / temperature."""
        ...


class RetrievalHead(nn.Module):
    """Users written as one text and items as vectors of length 1."""

    def __init__(self, config: RetrievalConfig, backbone: BackboneSpec) -> None:
        """Build the projections; `fit` sets their start."""
        super().__init__()
        self.projection = ContrastiveProjection(backbone.hidden, config.width, config.temperature, bias=True)
        self.config = config

    def users(self, states: Tensor, first: Tensor, count: Tensor) -> Tensor:
        """See `VectorHead`; a user is one row."""
        del count
        return self.projection.users(states[first])

    def items(self, states: Tensor) -> Tensor:
        """See `VectorHead`."""
        return self.projection.items(states)

    def scale(self) -> float:
        """See `VectorHead`; a constant."""
        return 1.0 / self.projection.temperature

    @torch.no_grad()
    def fit(self, samples: Sequence[Sample], states: RowStates, say: Callable[[str], None]) -> None:
        """Start both projections in closed form on the frozen states of the training pairs; see `start.fitted`."""
        del say
        pairs = [_pair(cast(RetrievalSample, sample)) for sample in samples]
        rows = Rows.of(pairs, states.sample_of_row)
        if len(pairs) < 2:
            raise DataError(f"{len(pairs)} training pair: a start fitted to pairs needs at least 2; use more --shots")
        users, items = (states.distinct[states.index[one]] for one in (rows.user, rows.own))
        start = fitted(users, items, self.config.width, self.config.ridge)
        for layer, (weight, bias) in (
            (self.projection.user_projection, start.user),
            (self.projection.item_projection, start.item),
        ):
            layer.weight.copy_(weight)
            layer.bias.copy_(bias)


class EventsHead(nn.Module):
    """Users as the sequence of their events' item texts; see `event_encoder`."""

    def __init__(self, config: RetrievalConfig, backbone: BackboneSpec) -> None:
        """Build the encoder; `fit` trains it. The seed of the fit follows from the global generator, as weights do."""
        super().__init__()
        known = config.known_texts
        if known is None:
            known = min(KNOWN_TEXTS, int(KNOWN_SHARE * backbone.parameters) // config.width)
        self.encoder = EventEncoder(backbone.hidden, config.width, config.longest, config.temperature, known)
        self.config = config
        self._seed = int(torch.randint(2**31, ()))

    def users(self, states: Tensor, first: Tensor, count: Tensor) -> Tensor:
        """See `VectorHead`; a row for each event."""
        return self.encoder.users(states, first, count)

    def items(self, states: Tensor) -> Tensor:
        """See `VectorHead`."""
        components = self.encoder.components(states)
        return self.encoder.items(components, self.encoder.memory(components))

    def scale(self) -> Tensor:
        """See `VectorHead`; learnt."""
        return self.encoder.log_scale.exp()

    def fit(self, samples: Sequence[Sample], states: RowStates, say: Callable[[str], None]) -> None:
        """Train the encoder on the frozen states of the users' events; see `event_fit`."""
        pairs = [_pair(cast(RetrievalSample, sample)) for sample in samples]
        config = self.config
        plan = FitPlan(config.fit_epochs, config.fit_dropout, config.fit_forget, self._seed)
        fit_events(self.encoder, user_sequences(pairs, states), states.distinct, plan, say)


class Rows:
    """Where the rows of samples lie in a view: `user` [N] is the first row of a user and `count` [N] how many it has,
    `own` [N] the candidate's, `negatives` [K] over all samples."""

    def __init__(self, user: Tensor, count: Tensor, own: Tensor, negatives: Tensor) -> None:
        """Keep the four."""
        self.user, self.count, self.own, self.negatives = user, count, own, negatives

    @classmethod
    def of(cls, samples: Sequence[RetrievalSample], sample_of_row: Tensor) -> Rows:
        """Find them: a sample's rows are its user's, its candidate's, its negatives'."""
        device = sample_of_row.device
        first = torch.searchsorted(sample_of_row.contiguous(), torch.arange(len(samples), device=device))
        total = torch.bincount(sample_of_row, minlength=len(samples))
        after = [
            len(sample.negatives) + 1 if sample.candidate is not None else 0 for sample in samples
        ]  # rows behind the user's
        count = total - torch.tensor(after, device=device)
        own = first + count
        spare = [int(own[n]) + 1 + k for n, sample in enumerate(samples) for k in range(len(sample.negatives))]
        return cls(first, count, own, torch.tensor(spare, dtype=torch.int64, device=device))


def pair_losses(head: VectorHead, view: TaskView) -> Tensor:
    """The loss of each pair [N]: its own item against those of the other pairs and all hard negatives of the step."""
    pairs = [_pair(cast(RetrievalSample, sample)) for sample in view.samples]
    rows, config = Rows.of(pairs, view.sample_of_row), head.config
    users = head.users(view.hidden, rows.user, rows.count)
    items = head.items(view.hidden[torch.cat([rows.own, rows.negatives])])
    excluded = torch.from_numpy(no_negatives(pairs, config.mask_history)).to(users.device)
    shares = None
    if config.popularity_correction:
        # A hard negative is no draw from the pairs; it counts as an item of the rarest share.
        values = [pair.log_share for pair in pairs]
        values += [min(values)] * len(rows.negatives)
        shares = torch.tensor(values, dtype=users.dtype, device=users.device)
    return in_batch_losses(users @ items.T * head.scale(), excluded, shares)


def no_negatives(pairs: Sequence[RetrievalSample], mask_history: bool) -> NDArray[np.bool_]:
    """Which items of a step are no negatives of each pair [N, N + K].

    They are its own item met again, what its user is paired with elsewhere in the step, and with `mask_history` the
    items of its history. Items are the N candidates, then all hard negatives, pair by pair.
    """
    items = [cast(Item, pair.candidate).item_id for pair in pairs]
    spare = [item.item_id for pair in pairs for item in pair.negatives]
    codes: dict[str, int] = {}
    columns = np.array([codes.setdefault(one, len(codes)) for one in [*items, *spare]], dtype=np.int64)
    of_user: dict[str, set[int]] = {}
    for pair, code in zip(pairs, columns, strict=False):
        of_user.setdefault(pair.user_id or pair.id, set()).add(int(code))
    excluded = np.zeros((len(pairs), len(columns)), dtype=bool)
    for n, pair in enumerate(pairs):
        known = set(of_user[pair.user_id or pair.id])
        if mask_history:
            known |= {codes[event.item.item_id] for event in pair.history if event.item.item_id in codes}
        excluded[n] = np.isin(columns, list(known))
    return excluded


def predictions(head: VectorHead, view: TaskView) -> list[Prediction]:
    """The vector of each sample's user where it has a history, else that of its item."""
    samples = [cast(RetrievalSample, sample) for sample in view.samples]
    rows = Rows.of(samples, view.sample_of_row)
    is_user = torch.tensor([bool(sample.history) for sample in samples], device=view.sample_of_row.device)
    vectors = view.hidden.new_zeros(len(samples), head.config.width)
    if bool(is_user.any()):
        vectors[is_user] = head.users(view.hidden, rows.user[is_user], rows.count[is_user]).to(vectors)
    if not bool(is_user.all()):
        vectors[~is_user] = head.items(view.hidden[rows.own[~is_user]]).to(vectors)
    return [
        RetrievalPrediction(id=sample.id, vector=tuple(vector))
        for sample, vector in zip(samples, vectors.tolist(), strict=True)
    ]


def _pair(sample: RetrievalSample) -> RetrievalSample:
    if not sample.history or sample.candidate is None:
        missing = "history" if not sample.history else "candidate"
        raise DataError(f"sample {sample.id}: no {missing}; tuning needs pairs of a history and the item that followed")
    return sample
