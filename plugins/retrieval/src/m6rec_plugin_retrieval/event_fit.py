"""Fits an `EventEncoder` to users' sequences: after each event, the next one's text among all texts of training.

The backbone is frozen, so a step costs what a small recommender costs. Only texts in the training samples are read:
items held out of training are neither targets nor negatives, and do not shape the components.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from m6rec_core.errors import DataError
from m6rec_core.heads.full_softmax import full_cross_entropy
from m6rec_core.types import RowStates
from m6rec_plugin_retrieval.event_encoder import EventEncoder
from m6rec_plugin_retrieval.sample import RetrievalSample

Say = Callable[[str], None]
BATCH = 64
RATE = 3e-3
TARGETS = 0.35
"""The share of a step's events that are predicted: neighbours say much the same, and the softmax is dear."""
WARMUP = 100
DECAY = 0.01
CLIP = 1.0


@dataclass(frozen=True, slots=True)
class FitPlan:
    """How often all users are seen, the share of numbers dropped in a step, the share of known texts forgotten in a
    step, and the seed of all that is drawn."""

    epochs: int
    dropout: float
    forget: float
    seed: int


def user_sequences(samples: Sequence[RetrievalSample], states: RowStates) -> list[Tensor]:
    """The texts of each user's events in order of time, as places in `states.distinct`: history, then candidate.

    Of several samples of a user (`RetrievalSample.group`) the longest counts, the last of equally long ones.
    """
    ends = torch.bincount(states.sample_of_row.cpu(), minlength=len(samples)).cumsum(0).tolist()
    index = states.index.cpu()
    longest: dict[str, Tensor] = {}
    for sample, end, start in zip(samples, ends, [0, *ends[:-1]], strict=True):
        sequence = index[start : end - len(sample.negatives)]
        if len(sequence) >= len(longest.get(sample.group, ())):
            longest[sample.group] = sequence
    return [sequence for sequence in longest.values() if len(sequence) > 1]


@torch.enable_grad()
def fit_events(encoder: EventEncoder, sequences: Sequence[Tensor], distinct: Tensor, plan: FitPlan, say: Say) -> None:
    """Train the encoder by full softmax over the Q texts of `sequences`, whose states are rows of `distinct`."""
    if len(sequences) < 2:
        raise DataError(f"{len(sequences)} user with two events: a start needs at least 2; use more --shots")
    used, flat, times = torch.unique(torch.cat(list(sequences)), return_inverse=True, return_counts=True)
    often = times.argsort(descending=True, stable=True)
    flat, used = often.argsort()[flat], used[often]
    texts = distinct[used.to(distinct.device)]
    encoder.whiten(texts)
    components = encoder.components(texts)
    encoder.memory.remember(components)
    coded = torch.split(flat, [len(one) for one in sequences])
    with torch.random.fork_rng(devices=[distinct.device] if distinct.device.type == "cuda" else []):
        torch.manual_seed(plan.seed)
        _steps(encoder, [one[-encoder.positions - 1 :] for one in coded], components, plan, say)


def _steps(encoder: EventEncoder, coded: Sequence[Tensor], components: Tensor, plan: FitPlan, say: Say) -> None:
    total = plan.epochs * -(-len(coded) // BATCH)
    optimizer = _optimizer(encoder)
    known = torch.arange(len(components), device=components.device) < len(encoder.memory.vectors)
    began, step = time.monotonic(), 0
    for epoch in range(plan.epochs):
        losses = torch.zeros((), dtype=torch.float64)
        order = _batches([len(one) for one in coded])
        for chosen in order:
            for group in optimizer.param_groups:
                group["lr"] = RATE * _schedule(step, total)
            kept = known & (torch.rand(len(known)).to(known.device) >= plan.forget)
            loss = _loss(encoder, [coded[int(one)] for one in chosen], components, kept, plan.dropout)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(encoder.parameters(), CLIP)
            optimizer.step()
            losses += loss.detach().cpu()
            step += 1
        mean, seconds = float(losses) / len(order), time.monotonic() - began
        left = seconds / (epoch + 1) * (plan.epochs - epoch - 1)
        say(f"fit         epoch {epoch + 1} of {plan.epochs}, loss {mean:.3f}, {seconds:.0f} s, {left:.0f} s left")
        if not math.isfinite(mean):
            raise DataError("the fit of the event encoder gave a loss that is not finite; look at the states' values")
    optimizer.zero_grad()


def _optimizer(encoder: EventEncoder) -> torch.optim.Optimizer:
    """AdamW; the memory is not drawn to zero, or rare texts would lose what little is known of them."""
    memory = list(encoder.memory.parameters())
    others = [value for name, value in encoder.named_parameters() if not name.startswith("memory.")]
    groups: list[dict[str, Any]] = [{"params": others}, {"params": memory, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=RATE, weight_decay=DECAY)


def _batches(lengths: Sequence[int]) -> list[Tensor]:
    """Places of an epoch's batches in random order; sequences of like length go together, since padding costs."""
    order = torch.randperm(len(lengths))
    of_length = torch.tensor(lengths)[order].argsort(stable=True)
    batches = torch.split(order[of_length], BATCH)
    return [batches[int(place)] for place in torch.randperm(len(batches))]


def _schedule(step: int, total: int) -> float:
    warm = min(WARMUP, max(1, total // 10))
    return min(1.0, (step + 1) / warm) * 0.5 * (1.0 + math.cos(math.pi * step / total))


def _loss(encoder: EventEncoder, coded: Sequence[Tensor], components: Tensor, kept: Tensor, dropout: float) -> Tensor:
    """Mean over TARGETS of the events of -log p(its text | those before); `kept` [Q]: texts that are remembered."""
    padded = torch.nn.utils.rnn.pad_sequence(list(coded), batch_first=True).to(components.device)
    length = torch.tensor([len(one) for one in coded], device=components.device)
    real = torch.arange(padded.shape[1] - 1, device=components.device)[None] < length[:, None] - 1
    chosen = real & (torch.rand(real.shape) < TARGETS).to(real.device)
    chosen[:, 0] |= ~chosen.any(1)  # a step without a target would have no loss
    memory = encoder.memory.vectors[: len(components)]
    remembered = functional.pad(memory, (0, 0, 0, len(components) - len(memory))) * kept[:, None]
    users = encoder.sequences(encoder.events(components, remembered)[padded[:, :-1]], dropout)[chosen]
    items = encoder.items(components, remembered)
    return full_cross_entropy(users * encoder.log_scale.exp(), items, padded[:, 1:][chosen])
