"""The head: two projections to unit vectors, and the softmax over the items of a step (paper 3.2)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from m6rec_core.errors import DataError
from m6rec_core.heads.projection import ContrastiveProjection, in_batch_losses
from m6rec_core.types import BackboneSpec, Item, Prediction, Sample, TaskView
from m6rec_plugin_retrieval.sample import RetrievalPrediction, RetrievalSample
from m6rec_plugin_retrieval.settings import RetrievalConfig
from m6rec_plugin_retrieval.start import fitted


class RetrievalHead(nn.Module):
    """Users and items as vectors of length 1."""

    def __init__(self, config: RetrievalConfig, backbone: BackboneSpec) -> None:
        """Build the projections; `fit` sets their start."""
        super().__init__()
        self.projection = ContrastiveProjection(backbone.hidden, config.width, config.temperature, bias=True)
        self.config = config

    @torch.no_grad()
    def fit(self, samples: Sequence[Sample], hidden: Tensor, sample_of_row: Tensor) -> None:
        """Start both projections in closed form on the frozen states of the training pairs; see `start.fitted`."""
        pairs = [_pair(cast(RetrievalSample, sample)) for sample in samples]
        rows = Rows.of(pairs, sample_of_row)
        if len(pairs) < 2:
            raise DataError(f"{len(pairs)} training pair: a start fitted to pairs needs at least 2; use more --shots")
        start = fitted(hidden[rows.user], hidden[rows.own], self.config.width, self.config.ridge)
        for layer, (weight, bias) in (
            (self.projection.user_projection, start.user),
            (self.projection.item_projection, start.item),
        ):
            layer.weight.copy_(weight)
            layer.bias.copy_(bias)


class Rows:
    """Where the rows of pairs lie in a view: `user`, `own` [N], `negatives` [K] are row numbers, K over all pairs."""

    def __init__(self, user: Tensor, own: Tensor, negatives: Tensor) -> None:
        """Keep the three."""
        self.user, self.own, self.negatives = user, own, negatives

    @classmethod
    def of(cls, samples: Sequence[RetrievalSample], sample_of_row: Tensor) -> Rows:
        """Find them: a pair's rows are its user's, its candidate's, its negatives'."""
        first = torch.searchsorted(sample_of_row.contiguous(), torch.arange(len(samples), device=sample_of_row.device))
        spare = [int(first[n]) + 2 + k for n, sample in enumerate(samples) for k in range(len(sample.negatives))]
        return cls(first, first + 1, torch.tensor(spare, dtype=torch.int64, device=first.device))


def pair_losses(head: RetrievalHead, view: TaskView) -> Tensor:
    """The loss of each pair [N]: its own item against those of the other pairs and all hard negatives of the step."""
    pairs = [_pair(cast(RetrievalSample, sample)) for sample in view.samples]
    rows, config = Rows.of(pairs, view.sample_of_row), head.config
    users = head.projection.users(view.hidden[rows.user])
    items = head.projection.items(view.hidden[torch.cat([rows.own, rows.negatives])])
    excluded = torch.from_numpy(no_negatives(pairs, config.mask_history)).to(users.device)
    shares = None
    if config.popularity_correction:
        # A hard negative is no draw from the pairs; it counts as an item of the rarest share.
        values = [pair.log_share for pair in pairs]
        values += [min(values)] * len(rows.negatives)
        shares = torch.tensor(values, dtype=users.dtype, device=users.device)
    return in_batch_losses(users @ items.T / head.projection.temperature, excluded, shares)


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


def predictions(head: RetrievalHead, view: TaskView) -> list[Prediction]:
    """The vector of each sample's first row: the user's where there is a history, else the item's."""
    samples = [cast(RetrievalSample, sample) for sample in view.samples]
    device = view.sample_of_row.device
    first = torch.searchsorted(view.sample_of_row.contiguous(), torch.arange(len(samples), device=device))
    hidden = view.hidden[first]
    is_user = torch.tensor([bool(sample.history) for sample in samples], device=device)
    vectors = torch.where(is_user[:, None], head.projection.users(hidden), head.projection.items(hidden)).tolist()
    return [
        RetrievalPrediction(id=sample.id, vector=tuple(vector)) for sample, vector in zip(samples, vectors, strict=True)
    ]


def _pair(sample: RetrievalSample) -> RetrievalSample:
    if not sample.history or sample.candidate is None:
        missing = "history" if not sample.history else "candidate"
        raise DataError(f"sample {sample.id}: no {missing}; tuning needs pairs of a history and the item that followed")
    return sample
