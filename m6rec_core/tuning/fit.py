"""Soft options fitted in closed form: a start that gradient steps take hundreds of samples to reach.

The backbone is frozen, so before the first step the options are nearly a linear classifier over fixed read-out states
(nearly, because options are prompts too). A penalised softmax regression that starts at the answer words, and is drawn
back to them, finds its best values at once (docs/experiments/ctr.md, section 5).
"""

from __future__ import annotations

import torch
from torch import Tensor

PENALTY = 0.01
"""Weight of the squared distance from the answer words; chosen on valid rows of ml-100k among .001 ... .1."""

PRIOR_ROWS = 30.0
"""PENALTY times the 3,000 rows it was chosen on. A run divides it by its rows: few rows are trusted less."""


def fit_options(hidden: Tensor, label: Tensor, options: Tensor, penalty: float = PENALTY) -> Tensor:
    """Return options [C, D] that minimise mean cross-entropy(hidden @ options.T, label) + 2 penalty * |change|^2.

    `hidden` [N, D]: read-out states; `label` [N]: class indices; `options` [C, D]: the start, which draws them back.
    Convex, so the result does not depend on the optimiser. Raises ValueError for no rows or labels outside 0 .. C-1.
    """
    if len(label) == 0 or int(label.min()) < 0 or int(label.max()) >= len(options):
        raise ValueError(f"{len(label)} labels for {len(options)} options: give at least one, each in 0..C-1")
    states, start = hidden.double(), options.detach().double()
    change = torch.zeros_like(start, requires_grad=True)
    optimiser = torch.optim.LBFGS(
        [change], max_iter=500, tolerance_grad=1e-9, tolerance_change=1e-14, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        optimiser.zero_grad()
        logits = states @ (start + change).T
        # With two options only their difference d matters, and |change|^2 over both is |d|^2 / 2: hence the factor 2.
        loss = torch.nn.functional.cross_entropy(logits, label) + 2.0 * penalty * change.pow(2).sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    with torch.enable_grad():
        optimiser.step(closure)  # type: ignore[no-untyped-call]
    return (start + change.detach()).to(options.dtype)
