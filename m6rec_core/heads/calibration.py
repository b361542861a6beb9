"""A calibration layer that adds a few numeric statistics to the options' margin; reported apart from the text model."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from m6rec_core.errors import DataError

STATISTIC_FEATURES = ("item_rate", "user_rate", "recent_rate", "item_count", "user_count", "taste_margin")
"""The statistics of a behaviour sample; a name ending in `_rate` is a probability, one in `_count` a count, one in
`_margin` any number, 0 for "nothing is known", which is also what a sample without it says."""

RATE_MARGIN = 1e-3
"""Rates are kept this far from 0 and 1, so that a logit stays within +-6.9."""


class NumericCalibration(nn.Module):
    """Adds `w . standardise(features) + b` to a positive-minus-negative logit. Starts by adding exactly 0.

    The mean and standard deviation of the F features are buffers, set once from training rows by `fit_scale`.
    """

    def __init__(self, features: int) -> None:
        """`features` is F. Until `fit_scale`, features pass as they are (mean 0, deviation 1)."""
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(features))
        self.bias = nn.Parameter(torch.zeros(()))
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("std", torch.ones(features))

    @torch.no_grad()
    def fit_scale(self, features: Tensor) -> None:
        """Set mean and deviation from `features` [n, F] of training rows, n >= 1; constant columns get deviation 1.

        Raises ValueError for an empty table, another F, or numbers that are not finite.
        """
        if features.dim() != 2 or features.shape[0] == 0 or features.shape[1] != self.weight.shape[0]:
            raise ValueError(f"features must be [n >= 1, {self.weight.shape[0]}], not {tuple(features.shape)}")
        if not bool(torch.isfinite(features).all()):
            raise ValueError("features hold numbers that are not finite")
        exact = features.double()
        std, mean = torch.std_mean(exact, dim=0, correction=0)
        # A constant column has a deviation of rounding size at most: dividing by it would blow up noise.
        constant = std <= 1e-6 * (1.0 + mean.abs())
        self.mean.copy_(mean)
        self.std.copy_(torch.where(constant, torch.ones_like(std), std))

    def forward(self, margin: Tensor, features: Tensor) -> Tensor:
        """Map `margin` [N] (positive minus negative logit) and `features` [N, F] to the corrected margin [N]."""
        standard = (features.to(self.mean.dtype) - self.mean) / self.std
        return margin + standard @ self.weight + self.bias


def logit_features(statistics: Mapping[str, float], names: Sequence[str] = STATISTIC_FEATURES) -> tuple[float, ...]:
    """Return one number per name: the logit of a `_rate`, log(1 + count) of a `_count`, a `_margin` as it is.

    Raises DataError when a rate or count is missing, a number is not finite, a rate outside 0..1, a count negative.
    """
    missing = [name for name in names if name not in statistics and not name.endswith("_margin")]
    if missing:
        known = ", ".join(sorted(statistics)) or "none"
        raise DataError(
            f"statistics {', '.join(missing)} are missing from the sample (it has {known}): give them in its "
            "`statistics`, counted before its time as m6rec run counts them, or tune with settings.calibration=false"
        )
    return tuple(_feature(statistics, name) for name in names)


def _feature(statistics: Mapping[str, float], name: str) -> float:
    if name.endswith("_margin"):
        margin = float(statistics.get(name, 0.0))
        if not math.isfinite(margin):
            raise DataError(f"statistic {name!r} is {margin}: a margin is a finite number, 0 for nothing known")
        return margin
    value = float(statistics[name])
    highest = 1.0 if name.endswith("_rate") else math.inf
    if not (0.0 <= value <= highest and math.isfinite(value)):
        raise DataError(f"statistic {name!r} is {value}: a rate lies in 0..1, a count is at least 0 and finite")
    if name.endswith("_rate"):
        rate = min(max(value, RATE_MARGIN), 1.0 - RATE_MARGIN)
        return math.log(rate / (1.0 - rate))
    if name.endswith("_count"):
        return math.log1p(value)
    raise DataError(f"statistic {name!r} is no rate, count or margin: its name must end in _rate, _count or _margin")
