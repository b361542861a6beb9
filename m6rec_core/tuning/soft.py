"""Soft prompts, soft options and marker embeddings (paper 3.4 and Fig. 2), with their starting values.

A soft option is not a parameter of its own: it is one of the last C soft prompts, read a second time by the classifier.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from m6rec_core.errors import ConfigError

MARKER_COUNT = 5
"""[BOS'] [EOS'] [BOS] [EOS] [MASK], in this order."""


class SoftPrompts(nn.Module):
    """P trainable embeddings written in front of every row of a task; the last C of them are the soft options.

    `initial` [P, D] gives the starting values (stored as float32); `options` is C, at most P, 0 for none.
    """

    def __init__(self, initial: Tensor, options: int = 0) -> None:
        """Copy `initial`; raise ValueError when there are fewer prompts than options."""
        super().__init__()
        if initial.dim() != 2 or not 0 <= options <= initial.shape[0]:
            raise ValueError(f"{options} options need at least as many prompts [P, D], not {tuple(initial.shape)}")
        self.option_count = options
        self.prompts = nn.Parameter(initial.detach().to(torch.float32).clone())

    def options(self) -> Tensor | None:
        """Return the soft options [C, D]: a view of the last prompts, so both uses train one tensor; None without."""
        return self.prompts[-self.option_count :] if self.option_count else None


class MarkerEmbeddings(nn.Module):
    """The embeddings [5, D] of the markers, float32; see `initial_markers` for their start.

    Untrained markers are a buffer: they are stored with the task, but no optimiser sees them.
    """

    def __init__(self, initial: Tensor, trainable: bool) -> None:
        """Copy `initial` [5, D]."""
        super().__init__()
        if initial.dim() != 2 or initial.shape[0] != MARKER_COUNT:
            raise ValueError(f"markers are [{MARKER_COUNT}, D], not {tuple(initial.shape)}")
        self.trainable = trainable
        values = initial.detach().to(torch.float32).clone()
        self.embeddings: Tensor
        if trainable:
            self.embeddings = nn.Parameter(values)
        else:
            self.register_buffer("embeddings", values)


def informed_prompts(embedding: Tensor, instruction_ids: Sequence[int], count: int) -> Tensor:
    """Return [count, D]: the token embeddings of the instruction, cut to `count` or repeated until there are enough.

    `embedding` is the backbone's table [V, D]; `instruction_ids` must not be empty when `count` > 0.
    """
    if count == 0:
        return embedding.new_zeros(0, embedding.shape[1], dtype=torch.float32)
    if not instruction_ids:
        raise ConfigError(
            "informed soft prompts need an instruction text: set settings.instruction, or tuning.init to random"
        )
    ids = [instruction_ids[i % len(instruction_ids)] for i in range(count)]
    return embedding.detach()[torch.tensor(ids, device=embedding.device)].float()


def informed_options(embedding: Tensor, option_ids: Sequence[Sequence[int]]) -> Tensor:
    """Return [C, D]: per option the mean token embedding of its answer words.

    With tied embeddings `hidden @ option` then starts as the backbone's own logit of the answer (design 6).
    """
    rows = []
    for number, ids in enumerate(option_ids, start=1):
        if not ids:
            raise ConfigError(f"settings.options: option {number} has no text to start from: give every option a word")
        rows.append(embedding.detach()[torch.tensor(list(ids), device=embedding.device)].float().mean(0))
    return torch.stack(rows) if rows else embedding.new_zeros(0, embedding.shape[1], dtype=torch.float32)


def random_rows(embedding: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Return [count, D] normal numbers, mean 0, with the standard deviation of the whole embedding table."""
    std = embedding.detach().float().std()
    return torch.randn(count, embedding.shape[1], generator=generator).to(embedding.device) * std


def initial_markers(embedding: Tensor) -> Tensor:
    """Return [5, D] marker embeddings that depend on the table [V, D] alone, so they are the same in every task.

    Each is the average token plus one cosine wave scaled by the tokens' own spread: five different vectors of a
    token's usual size and, the waves being orthogonal, in different directions. No random numbers are involved.
    """
    table = embedding.detach().double().cpu()
    width = table.shape[1]
    positions = (torch.arange(width, dtype=torch.float64) + 0.5) * math.pi / width
    waves = math.sqrt(2.0) * torch.cos(torch.arange(1, MARKER_COUNT + 1, dtype=torch.float64)[:, None] * positions)
    initial = table.mean(0) + waves * table.std(0, correction=0)
    return initial.float().to(embedding.device)
