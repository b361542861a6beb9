"""The Deep Interest Network (Zhou et al., KDD 2018): an attention over the history that depends on the candidate.

Shapes: B rows, H history events, D width of an item (id and fields side by side), O width of an outcome.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from m6rec_plugin_baselines.features import UNKNOWN


@dataclass(frozen=True, slots=True)
class Sizes:
    """Table sizes, each counting UNKNOWN: ids, tokens of every categorical field, and numeric inputs per row."""

    users: int
    items: int
    user_fields: tuple[int, ...]
    item_fields: tuple[int, ...]
    numbers: int = 0


@dataclass(frozen=True, slots=True)
class Things:
    """Users or items: ids [...] and, for every categorical field, tokens [..., width]."""

    ids: Tensor
    fields: tuple[Tensor, ...]


@dataclass(frozen=True, slots=True)
class Rows:
    """B rows: user and candidate [B], history [B, H], outcome [B, H] (0 none, 1 disliked, 2 liked, 3 unknown).

    `numbers` [B, n] are standardised statistics, n = 0 in the pure DIN.
    """

    user: Things
    candidate: Things
    history: Things
    outcome: Tensor
    numbers: Tensor


class Dice(nn.Module):
    """Dice (paper equation 3): p(s) s + (1 - p(s)) alpha s, with p the sigmoid of the batch-normalised input."""

    def __init__(self, width: int) -> None:
        """Start with alpha = 0 for each of the `width` inputs, as the authors' code does."""
        super().__init__()
        self.normalise = nn.BatchNorm1d(width, eps=1e-8, affine=False)
        self.alpha = nn.Parameter(torch.zeros(width))

    def forward(self, inputs: Tensor) -> Tensor:
        """Return activations [B, width]."""
        gate = torch.sigmoid(self.normalise(inputs))
        activated: Tensor = (gate + (1.0 - gate) * self.alpha) * inputs
        return activated


class Described(nn.Module):
    """The embedding of users or items: the id and the mean of each field's tokens, side by side."""

    def __init__(self, ids: int, fields: tuple[int, ...], width: int) -> None:
        """Build one table per id space and field, small normal start."""
        super().__init__()
        self.id = nn.Embedding(ids, width)
        self.fields = nn.ModuleList(nn.Embedding(size, width, padding_idx=UNKNOWN) for size in fields)
        self.width = width * (1 + len(fields))
        for table in (self.id, *self.fields):
            nn.init.normal_(table.weight, std=0.01)

    def forward(self, things: Things) -> Tensor:
        """Return [..., width]; a missing field is zero."""
        parts = [self.id(things.ids)]
        for table, tokens in zip(self.fields, things.fields, strict=True):
            count = (tokens != UNKNOWN).sum(dim=-1, keepdim=True).clamp(min=1)
            parts.append(table(tokens).sum(dim=-2) / count)
        return torch.cat(parts, dim=-1)


class LocalActivation(nn.Module):
    """The local activation unit (paper 4.3): one weight per event from [h, c, h - c, h * c], not normalised.

    PReLU here and not Dice: batch statistics over padded positions would let padding change the weights.
    """

    def __init__(self, item: int, outcome: int, hidden: int = 36) -> None:
        """Build the two-layer network; 36 as in the paper's figure 2."""
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(4 * item + outcome, hidden), nn.PReLU(), nn.Linear(hidden, 1))

    def forward(self, history: Tensor, outcome: Tensor, candidate: Tensor, present: Tensor) -> Tensor:
        """Map history [B, H, D], outcome [B, H, O], candidate [B, D], present [B, H] to the weighted sum [B, D + O]."""
        target = candidate[:, None].expand_as(history)
        pairs = torch.cat([history, outcome, target, history - target, history * target], dim=-1)
        weight = self.layers(pairs).squeeze(-1) * present
        return torch.einsum("bh,bhd->bd", weight, torch.cat([history, outcome], dim=-1))


class DeepInterestNetwork(nn.Module):
    """DIN: user, candidate and attended history into an MLP 200-80 with Dice, one logit per row.

    Unlike the paper's click histories, events here have outcomes (liked or not), so each event carries an outcome
    embedding beside its item: DIN sees what the text model sees.
    """

    def __init__(self, sizes: Sizes, width: int, outcome: int, dropout: float) -> None:
        """Build the tables and layers; `width` of every table, `outcome` of the outcome table."""
        super().__init__()
        self.user = Described(sizes.users, sizes.user_fields, width)
        self.item = Described(sizes.items, sizes.item_fields, width)
        self.outcome = nn.Embedding(4, outcome, padding_idx=0)
        self.interest = LocalActivation(self.item.width, outcome)
        inputs = self.user.width + 2 * self.item.width + outcome + sizes.numbers
        self.layers = nn.Sequential(
            nn.Linear(inputs, 200), Dice(200), nn.Dropout(dropout),
            nn.Linear(200, 80), Dice(80), nn.Dropout(dropout),
            nn.Linear(80, 1),
        )  # fmt: skip

    def forward(self, rows: Rows) -> Tensor:
        """Return log-odds [B]."""
        candidate = self.item(rows.candidate)
        present = (rows.outcome != 0).to(candidate.dtype)
        interest = self.interest(self.item(rows.history), self.outcome(rows.outcome), candidate, present)
        inputs = torch.cat([self.user(rows.user), candidate, interest, rows.numbers], dim=-1)
        logits: Tensor = self.layers(inputs).squeeze(-1)
        return logits
