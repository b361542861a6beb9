"""What a task adds between the lower and the upper layers of late interaction: segment embeddings (paper 3.3)."""

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
        return self.embeddings[slots]


def segment_slots(config: TuningConfig) -> int:
    """Rows S of the table that the settings ask for; 0 without late interaction."""
    return slot_count(config.segment_embeddings) if config.late_layers else 0
