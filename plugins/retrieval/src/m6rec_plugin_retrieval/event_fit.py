"""Fits an `EventEncoder` to users' sequences: after each event, the next one's text among all texts of training.

The backbone is frozen, so a step costs what a small recommender costs. Only texts in the training samples are read:
items held out of training are neither targets nor negatives, and do not shape the components.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from m6rec_core.errors import DataError
from m6rec_core.types import RowStates
from m6rec_plugin_retrieval.event_encoder import EventEncoder
from m6rec_plugin_retrieval.sample import RetrievalSample

Say = Callable[[str], None]
BATCH = 64
RATE = 3e-3
WARMUP = 100
DECAY = 0.01
CLIP = 1.0


@dataclass(frozen=True, slots=True)
class FitPlan:
    """How often all users are seen, the share of numbers dropped in a step, and the seed of order and dropout."""

    epochs: int
    dropout: float
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
    used, flat = torch.unique(torch.cat(list(sequences)), return_inverse=True)
    texts = distinct[used.to(distinct.device)]
    encoder.whiten(texts)
    components = encoder.components(texts)
    coded = torch.split(flat, [len(one) for one in sequences])
    with torch.random.fork_rng(devices=[distinct.device] if distinct.device.type == "cuda" else []):
        torch.manual_seed(plan.seed)
        _steps(encoder, [one[-encoder.positions - 1 :] for one in coded], components, plan, say)


def _steps(encoder: EventEncoder, coded: Sequence[Tensor], components: Tensor, plan: FitPlan, say: Say) -> None:
    total = plan.epochs * -(-len(coded) // BATCH)
    optimizer = torch.optim.AdamW(encoder.parameters(), lr=RATE, weight_decay=DECAY)
    began, step = time.monotonic(), 0
    for epoch in range(plan.epochs):
        losses = torch.zeros((), dtype=torch.float64)
        order = torch.split(torch.randperm(len(coded)), BATCH)
        for chosen in order:
            for group in optimizer.param_groups:
                group["lr"] = RATE * _schedule(step, total)
            loss = _loss(encoder, [coded[int(one)] for one in chosen], components, plan.dropout)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(encoder.parameters(), CLIP)
            optimizer.step()
            losses += loss.detach().cpu()
            step += 1
        mean, seconds = float(losses) / len(order), time.monotonic() - began
        say(f"fit         epoch {epoch + 1} of {plan.epochs}, loss {mean:.3f}, {seconds:.0f} s")
        if not math.isfinite(mean):
            raise DataError("the fit of the event encoder gave a loss that is not finite; look at the states' values")
    optimizer.zero_grad()


def _schedule(step: int, total: int) -> float:
    warm = min(WARMUP, max(1, total // 10))
    return min(1.0, (step + 1) / warm) * 0.5 * (1.0 + math.cos(math.pi * step / total))


def _loss(encoder: EventEncoder, coded: Sequence[Tensor], components: Tensor, dropout: float) -> Tensor:
    """Mean over all events but each first of -log p(its text | those before)."""
    padded = torch.nn.utils.rnn.pad_sequence(list(coded), batch_first=True).to(components.device)
    length = torch.tensor([len(one) for one in coded], device=components.device)
    real = torch.arange(padded.shape[1] - 1, device=components.device)[None] < length[:, None] - 1
    users = encoder.sequences(components[padded[:, :-1]], dropout)[real]
    scores = (users * encoder.log_scale.exp()) @ encoder.items(components).T
    return functional.cross_entropy(scores, padded[:, 1:][real])
