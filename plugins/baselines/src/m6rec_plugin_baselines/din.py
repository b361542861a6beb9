"""DIN as a baseline: settings, training with early stopping on valid AUC, and the two entry points.

`BASELINE` is DIN on ids, fields, history and outcomes alone. `WITH_STATISTICS` also reads the statistics;
it is a different, stronger model and is reported under its own name.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from m6rec_core.baselines.data import BaselineData, BaselineResult, FloatArray, IntArray
from m6rec_core.metrics.ranking import auc
from m6rec_plugin_baselines.inputs import Drop, Inputs, make_inputs
from m6rec_plugin_baselines.network import DeepInterestNetwork

SCORING_BATCH = 4096


@dataclass(frozen=True, slots=True)
class DinSettings:
    """Settings of DIN, chosen on valid rows of ml-100k (docs/experiments/din.md).

    `width` of each embedding, `outcome` of the outcome's. `drop_user`, `drop_item`: share of ids hidden in training.
    `batch` is the largest batch; few rows get smaller ones, at least 20 to the epoch. Valid AUC is computed after each
    epoch, or each `check_steps` steps where an epoch is longer (and not before 10 steps); training stops after
    `patience` checks without a new best or `max_checks` in all, and the best weights are kept.
    """

    width: int = 16
    outcome: int = 8
    dropout: float = 0.2
    lr: float = 1e-3
    weight_decay: float = 0.1
    drop_user: float = 0.7
    drop_item: float = 0.2
    batch: int = 256
    check_steps: int = 80
    patience: int = 8
    max_checks: int = 60


@dataclass(frozen=True, slots=True, eq=False)
class TrainingRows:
    """Indices of the rows to learn from and of those that say when to stop."""

    train: IntArray
    valid: IntArray


@dataclass(frozen=True, slots=True)
class Fit:
    """The outcome of training: best valid AUC (nan without usable valid rows), its epoch, and epochs run in all."""

    valid_auc: float
    best_epoch: float
    epochs: float


def score_rows(network: DeepInterestNetwork, inputs: Inputs, index: IntArray) -> FloatArray:
    """Return log-odds [m] of the rows `index`, in evaluation mode and without gradients."""
    network.eval()
    with torch.inference_mode():
        parts = [network(inputs.rows(part)) for part in torch.split(torch.from_numpy(index), SCORING_BATCH)]
    return np.concatenate([part.double().numpy() for part in parts]) if index.size else np.zeros(0)


def _batches(train: IntArray, size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Yield batches of row indices for ever, reshuffled each epoch; a last batch of one row is left out for Dice."""
    rows = torch.from_numpy(train)
    while True:
        for part in torch.split(rows[torch.randperm(len(rows), generator=generator)], size):
            if len(part) > 1:
                yield part


def train_network(
    network: DeepInterestNetwork, inputs: Inputs, split: TrainingRows, settings: DinSettings, seed: int
) -> Fit:
    """Train in place and leave the weights of the best valid check in `network`.

    Without usable valid rows (none, or one class) it trains three epochs and keeps the last weights.
    """
    generator = torch.Generator().manual_seed(seed)
    train, valid = split.train, split.valid
    batch = int(np.clip(train.size // 20, 32, settings.batch))
    epoch_steps = -(-train.size // batch)
    check = max(10, min(epoch_steps, settings.check_steps))
    label = inputs.label[torch.from_numpy(valid)].double().numpy()
    usable = label.size > 0 and label.min() < label.max()
    last_check = settings.max_checks if usable else -(-3 * epoch_steps // check)
    optimizer = torch.optim.AdamW(network.parameters(), lr=settings.lr, weight_decay=settings.weight_decay)
    drop = Drop(settings.drop_user, settings.drop_item)
    batches = _batches(train, batch, generator)
    best, best_check, state = float("nan"), 0, {}
    done = 0
    while done < last_check and (done - best_check < settings.patience or not usable):
        network.train()
        for _ in range(check):
            index = next(batches)
            loss = binary_cross_entropy_with_logits(network(inputs.rows(index, drop, generator)), inputs.label[index])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        done += 1
        value = auc(label, score_rows(network, inputs, valid)) if usable else float("nan")
        if not value <= best:
            best, best_check = value, done
            state = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    network.load_state_dict(state)
    return Fit(best, best_check * check / epoch_steps, done * check / epoch_steps)


@dataclass(frozen=True, slots=True)
class DinBaseline:
    """The Deep Interest Network as `m6rec_core.baselines.Baseline`. `statistics` adds the statistics."""

    name: str = "din"
    statistics: bool = False
    settings: DinSettings = field(default_factory=DinSettings)

    def fit_predict(
        self, data: BaselineData, train: IntArray, valid: IntArray, test: IntArray, seed: int
    ) -> BaselineResult:
        """Train on `train`, stop early by `valid`, score `test`. Fewer than two training rows score all rows alike."""
        if train.size < 2:
            return BaselineResult(np.zeros(test.size), np.full(test.size, 0.5), {"rows": int(train.size), "epochs": 0})
        inputs = make_inputs(data, train, self.statistics)
        # Initial weights and dropout draw from torch's global generator: lend it our seed and give it back unchanged.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            settings = self.settings
            network = DeepInterestNetwork(inputs.sizes, settings.width, settings.outcome, settings.dropout)
            fit = train_network(network, inputs, TrainingRows(train, valid), settings, seed)
            log_odds = score_rows(network, inputs, test)
        info: dict[str, float | int | str | bool] = {
            "rows": int(train.size),
            "epochs": round(fit.epochs, 3),
            "best_epoch": round(fit.best_epoch, 3),
            "parameters": sum(parameter.numel() for parameter in network.parameters()),
            "statistics": self.statistics,
        }
        if np.isfinite(fit.valid_auc):
            info["valid_auc"] = round(fit.valid_auc, 6)
        return BaselineResult(log_odds, 0.5 * (1.0 + np.tanh(0.5 * log_odds)), info)


BASELINE = DinBaseline()
WITH_STATISTICS = DinBaseline(name="din-statistics", statistics=True)
