"""What a task adds between the lower and the upper layers of late interaction (paper 3.3): segment embeddings, and
summaries of segments.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from m6rec_core.config import TuningConfig
from m6rec_core.tokens.slots import slot_count


class SegmentEmbeddings(nn.Module):
    """A table [S, D] added to the lower layers' output, float32; it starts at zero, so it starts by adding nothing."""

    def __init__(self, slots: int, hidden: int) -> None:
        """Build `slots` rows of width `hidden`."""
        super().__init__()
        self.embeddings = nn.Parameter(torch.zeros(slots, hidden))

    def forward(self, slots: Tensor) -> Tensor:
        """Rows [n, D] of slots [n]."""
        # Indexing would do; the gradient of this is several times faster on a CPU.
        return nn.functional.embedding(slots, self.embeddings)


class SegmentSummaries(nn.Module):
    """n tokens that enter above the lower layers after each segment, and hold what it is about.

    Its content is the mean direction of the segment's states, at the size of the last one: a pretrained decoder's first
    token is so large that it would be the whole mean. Each of the n adds a learned vector [n, D], float32, zero at
    first. Made of cached states, so the cache is the same with and without summaries.
    """

    def __init__(self, count: int, hidden: int) -> None:
        """Build `count` vectors of width `hidden`."""
        super().__init__()
        self.embeddings = nn.Parameter(torch.zeros(count, hidden))

    def forward(self, states: Tensor, summary_of: Tensor, slots: Tensor) -> Tensor:
        """Summaries [S, D] from states [Q, D] of the tokens that each sums up.

        `summary_of` [Q], ascending: the summary of each state; `slots` [S]: which of the n vectors each summary has.
        """
        states = states.to(torch.promote_types(states.dtype, torch.float32))
        size = states.square().mean(1, keepdim=True).sqrt().clamp_min(1e-12)
        count = torch.bincount(summary_of, minlength=len(slots))
        mean = states.new_zeros(len(slots), states.shape[1]).index_add(0, summary_of, states / size) / count[:, None]
        return mean * size[count.cumsum(0) - 1] + self.embeddings[slots]


def late_vectors(config: TuningConfig) -> int:
    """Vectors of width D that the settings ask for: segment embeddings and summaries; 0 without late interaction."""
    return segment_slots(config) + (config.segment_summaries if config.late_layers else 0)


def segment_slots(config: TuningConfig) -> int:
    """Rows S of the table that the settings ask for; 0 without late interaction."""
    return slot_count(config.segment_embeddings) if config.late_layers else 0
