"""User and item vectors for retrieval, and the contrastive loss that trains them (paper 3.2, "retrieval tasks")."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


def in_batch_losses(scores: Tensor, excluded: Tensor, log_share: Tensor | None = None) -> Tensor:
    """Softmax cross-entropy [N] of N users over M items, user n's own being item n, so M >= N.

    `scores` [N, M]: inner products over temperature. `excluded` [N, M] bool: items that are no negatives of a user; its
    own is never left out. `log_share` [M]: log of each item's share of the training pairs. Items come into a batch as
    often as they are popular, so popular ones are pushed away too often; taking log_share off the scores makes the
    softmax estimate the one over all items (Yi et al. 2019, "Sampling-bias-corrected neural modeling").
    """
    if log_share is not None:
        scores = scores - log_share
    own = torch.eye(scores.shape[0], scores.shape[1], dtype=torch.bool, device=scores.device)
    return scores.masked_fill(excluded & ~own, float("-inf")).logsumexp(1) - scores.diagonal()


class ContrastiveProjection(nn.Module):
    """Two learnable matrices, one for users and one for items, each followed by l2 normalisation.

    The loss of a pair is -log softmax of x.y / tau over its own item and the items of the other pairs in the batch.
    """

    def __init__(self, hidden: int, width: int = 128, temperature: float = 0.07, bias: bool = False) -> None:
        """`hidden` is D, `width` the length of the vectors, `temperature` tau (the paper: 128 and .07, no bias).

        A `bias` lets the projections centre the hidden states, which a pretrained model's are far from.
        """
        super().__init__()
        self.user_projection = nn.Linear(hidden, width, bias=bias)
        self.item_projection = nn.Linear(hidden, width, bias=bias)
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
        excluded = torch.zeros_like(scores, dtype=torch.bool)
        if item_ids is not None:
            excluded = item_ids[:, None] == item_ids[None, :]
        return in_batch_losses(scores, excluded)
