"""Train epoch by epoch, stop when the valid measure no longer rises, keep the best weights."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from torch import nn


@dataclass(frozen=True, slots=True)
class StopRule:
    """At most `epochs`; stop after `patience` epochs without a new best.

    `minutes` > 0 also stops after the epoch in which that time is used up: the result then depends on the machine.
    """

    epochs: int
    patience: int
    minutes: float = 0.0


@dataclass(frozen=True, slots=True)
class Fit:
    """The best valid measure, its epoch (from 1; 0 when none was run), epochs run, why it stopped, and seconds."""

    best: float
    best_epoch: int
    epochs: int
    stopped: str
    seconds: float


def train_to_best(
    network: nn.Module,
    epoch: Callable[[int], float],
    measure: Callable[[], float] | None,
    rule: StopRule,
    say: Callable[[str], None],
) -> Fit:
    """Run `epoch(number)` (returns its mean loss), then `measure()` (higher is better); leave the best weights inside.

    Without a measure (no valid rows) all epochs are run and the last weights stay.
    """
    started = time.perf_counter()
    best, best_epoch, done, state, stopped = float("-inf"), 0, 0, None, "epochs"
    while done < rule.epochs:
        done += 1
        network.train()
        loss = epoch(done)
        network.eval()
        value = measure() if measure is not None else float("-inf")
        seconds = time.perf_counter() - started
        seen = "no valid rows" if measure is None else f"valid NDCG@10 {value:.4f}"
        say(f"epoch {done}: loss {loss:.4f}, {seen}, {seconds:.0f} s")
        if measure is not None and value > best:
            best, best_epoch = value, done
            state = {name: tensor.clone() for name, tensor in network.state_dict().items()}
        if measure is not None and done - best_epoch >= rule.patience:
            stopped = "patience"
            break
        if rule.minutes > 0 and seconds >= 60 * rule.minutes:
            stopped = "minutes"
            break
    if state is not None:
        network.load_state_dict(state)
    network.eval()
    return Fit(best, best_epoch, done, stopped, time.perf_counter() - started)
