"""A closed-form start of the two projections on the frozen backbone's states: canonical correlation.

Before the first step the backbone is frozen, so the best linear maps of user and item states can be computed instead of
learnt. Regularised canonical correlation finds directions in which a user's state tells the state of the item that
followed: with Suu, Sii the covariances of the states over the training pairs and Sui their cross-covariance,

    Suu^-1/2 Sui Sii^-1/2 = A diag(c) B',   user = diag(c)^1/2 A' Suu^-1/2,   item = diag(c)^1/2 B' Sii^-1/2.

The inner product of the two is then the best bilinear estimate of how much likelier a pair is than chance (for normal
states, log p(user, item) / p(user) p(item) to first order). What gradient steps reach slowly on a CPU, one pass over
the training rows gives at once.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Start:
    """Weight [width, D] and bias [width] of the user and of the item projection."""

    user: tuple[Tensor, Tensor]
    item: tuple[Tensor, Tensor]


def fitted(users: Tensor, items: Tensor, width: int, ridge: float = 0.1) -> Start:
    """Projections from the states of N >= 2 pairs, `users` [N, D] and `items` [N, D].

    `ridge` times the mean variance is added to the covariances' diagonals, divided by the root of N / 1,000: few pairs
    are trusted less. Directions beyond D, or beyond what the pairs can tell, are zero. Deterministic up to rounding:
    the sign of each direction is fixed.
    """
    x, y = users.double(), items.double()
    mean_x, mean_y = x.mean(0), y.mean(0)
    x, y = x - mean_x, y - mean_y
    penalty = ridge / (max(len(x), 1) / 1000.0) ** 0.5
    root_x, root_y = _inverse_root(x, penalty), _inverse_root(y, penalty)
    a, c, b = torch.linalg.svd(root_x @ (x.T @ y / len(x)) @ root_y, full_matrices=False)
    kept = min(width, len(c))
    scale = c[:kept].clamp_min(0.0).sqrt()
    sign = torch.sign(a[:, :kept].gather(0, a[:, :kept].abs().argmax(0, keepdim=True)))
    user = _filled((root_x @ (a[:, :kept] * sign * scale)).T, width)
    item = _filled((root_y @ (b[:kept].T * sign * scale)).T, width)
    return Start((user, -user @ mean_x), (item, -item @ mean_y))


def _inverse_root(centred: Tensor, penalty: float) -> Tensor:
    """(covariance + penalty * mean variance)^-1/2, [D, D]."""
    covariance = centred.T @ centred / len(centred)
    values, vectors = torch.linalg.eigh(covariance)
    smallest = penalty * covariance.diagonal().mean() + 1e-12
    root: Tensor = (vectors * (values.clamp_min(0.0) + smallest).rsqrt()) @ vectors.T
    return root


def _filled(weight: Tensor, width: int) -> Tensor:
    return torch.nn.functional.pad(weight, (0, 0, 0, width - len(weight)))
