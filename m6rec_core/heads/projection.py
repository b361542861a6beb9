"""User and item vectors for retrieval, and the contrastive loss that trains them (paper 3.2, "retrieval tasks")."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class ContrastiveProjection(nn.Module):
    """Two learnable matrices, one for users and one for items, each followed by l2 normalisation.

    The loss of a pair is -log softmax of x.y / tau over its own item and the items of the other pairs in the batch.
    """

    def __init__(self, hidden: int, width: int = 128, temperature: float = 0.07) -> None:
        """`hidden` is D, `width` the length of the vectors, `temperature` tau (the paper: 128 and .07)."""
        super().__init__()
        self.user_projection = nn.Linear(hidden, width, bias=False)
        self.item_projection = nn.Linear(hidden, width, bias=False)
        self.temperature = temperature

    def users(self, hidden: Tensor) -> Tensor:
        """Map hidden states [N, D] to user vectors [N, width] of length 1."""
        return functional.normalize(self.user_projection(hidden), dim=-1)

    def items(self, hidden: Tensor) -> Tensor:
        """Map hidden states [N, D] to item vectors [N, width] of length 1."""
        return functional.normalize(self.item_projection(hidden), dim=-1)

    def forward(self, user_hidden: Tensor, item_hidden: Tensor, item_ids: Tensor | None = None) -> Tensor:
        """Return the loss of each pair [N] from the hidden states of its user [N, D] and of its item [N, D].

        `item_ids` [N] (any integers, equal for the same item) keeps a pair's own item, met again in another pair, from
        counting as its negative. Without it every other pair's item is a negative, as in the paper.
        """
        scores = self.users(user_hidden) @ self.items(item_hidden).T / self.temperature
        if item_ids is not None:
            own = torch.eye(item_ids.shape[0], dtype=torch.bool, device=item_ids.device)
            again = (item_ids[:, None] == item_ids[None, :]) & ~own
            scores = scores.masked_fill(again, float("-inf"))
        return scores.logsumexp(1) - scores.diagonal()
