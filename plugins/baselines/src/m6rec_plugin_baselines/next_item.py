"""Networks that say which item comes next: a table of item vectors, and a reader of the history.

Two kinds of item vectors (ids, or the words of the item's text) and two readers (a mean, a causal transformer) give
YouTubeDNN, SASRec and the text two-tower. Shapes: B histories, T events, I items, D width.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout, embedding, embedding_bag, normalize, scaled_dot_product_attention

from m6rec_plugin_baselines.sequences import Padded
from m6rec_plugin_baselines.words import ItemWords


class ItemVectors(Protocol):
    """Makes the vectors [I, D] of all items."""

    def __call__(self) -> Tensor:
        """Return the vectors, of whatever length."""
        ...


class HistoryReader(Protocol):
    """Reads embedded histories [B, T, D] with their lengths [B]; position t sees events up to t only."""

    def __call__(self, events: Tensor, length: Tensor) -> Tensor:
        """Return one user vector per position, [B, T, D]."""
        ...


class IdVectors(nn.Module):
    """One free vector per item."""

    def __init__(self, items: int, width: int) -> None:
        """Draw the table [I, D] from a narrow normal distribution."""
        super().__init__()
        self.table = nn.Parameter(torch.randn(items, width) * 0.02)

    def forward(self) -> Tensor:
        """Return the table."""
        return self.table


class TextVectors(nn.Module):
    """The mean of the vectors of an item's words, then a residual layer: also for items never trained on."""

    def __init__(self, words: ItemWords, start: Tensor | None, width: int, drop: float) -> None:
        """Begin with `start` [W, .] word vectors where given (projected to D and trained), else with small random ones.

        `drop`: the share of words hidden in training, so that no rare word becomes the item's id.
        """
        super().__init__()
        self.register_buffer("ids", torch.from_numpy(words.ids), persistent=False)
        self.register_buffer("offsets", torch.from_numpy(words.offsets), persistent=False)
        first = torch.randn(words.count, width) * 0.1 if start is None else start.clone()
        self.words = nn.Parameter(first)
        self.project = nn.Linear(first.shape[1], width)
        self.refine = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
        # Without it the readers begin with inputs far below their biases, and learn nothing for many epochs.
        self.norm = nn.LayerNorm(width)
        self.drop = drop

    def forward(self) -> Tensor:
        """Return the vectors [I, D]."""
        ids, offsets = self.get_buffer("ids"), self.get_buffer("offsets")
        weight = dropout(torch.ones(len(ids)), self.drop, self.training)
        mean = embedding_bag(ids, self.words, offsets, mode="sum", per_sample_weights=weight)
        size = torch.diff(offsets, append=torch.tensor([len(ids)]))[:, None]
        vectors = self.project(mean / size.clamp_min(1).sqrt())
        out: Tensor = self.norm(vectors + self.refine(vectors))
        return out


class MeanReader(nn.Module):
    """The mean of the last `window` events through a perceptron: the user tower of YouTubeDNN."""

    def __init__(self, width: int, window: int, drop: float) -> None:
        """Two hidden layers of twice the width."""
        super().__init__()
        self.window = window
        self.tower = nn.Sequential(
            nn.Linear(width, 2 * width), nn.ReLU(), nn.Dropout(drop),
            nn.Linear(2 * width, 2 * width), nn.ReLU(), nn.Dropout(drop), nn.Linear(2 * width, width),
        )  # fmt: skip

    def forward(self, events: Tensor, length: Tensor) -> Tensor:
        """See `HistoryReader`."""
        total = events.cumsum(1)
        if events.shape[1] > self.window:
            total = torch.cat([total[:, : self.window], total[:, self.window :] - total[:, : -self.window]], 1)
        count = torch.arange(1, events.shape[1] + 1).clamp_max(self.window)[:, None]
        # The root keeps the mean's size near that of one event, however long the history is.
        mean: Tensor = total / count.sqrt()
        out: Tensor = self.tower(mean)
        return out


class Block(nn.Module):
    """One pre-norm transformer block with causal attention."""

    def __init__(self, width: int, heads: int, drop: float) -> None:
        """`heads` must divide `width`."""
        super().__init__()
        self.heads, self.drop = heads, drop
        self.before = nn.LayerNorm(width)
        self.mix = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.after = nn.LayerNorm(width)
        self.feed = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Dropout(drop), nn.Linear(4 * width, width)
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        """Return x [B, T, D] after attention and feed-forward network."""
        batch, time, width = x.shape
        mixed = self.mix(self.before(x)).view(batch, time, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        seen = scaled_dot_product_attention(mixed[0], mixed[1], mixed[2], is_causal=True)
        seen = self.out(seen.transpose(1, 2).reshape(batch, time, width))
        x = x + dropout(seen, self.drop, self.training)
        fed: Tensor = dropout(self.feed(self.after(x)), self.drop, self.training)
        return x + fed


class TransformerReader(nn.Module):
    """A causal transformer with learned positions counted from the last event (SASRec)."""

    def __init__(self, width: int, length: int, blocks: int, heads: int, drop: float) -> None:
        """Positions for histories of up to `length` events."""
        super().__init__()
        self.positions = nn.Parameter(torch.randn(length, width) * 0.02)
        self.blocks = nn.ModuleList(Block(width, heads, drop) for _ in range(blocks))
        self.last = nn.LayerNorm(width)
        self.drop = drop

    def forward(self, events: Tensor, length: Tensor) -> Tensor:
        """See `HistoryReader`; the last of a history's events has position 0, its padding the same."""
        back = (length[:, None] - 1 - torch.arange(events.shape[1])).clamp_min(0)
        x = dropout(events + embedding(back, self.positions), self.drop, self.training)
        for block in self.blocks:
            x = block(x)
        out: Tensor = self.last(x)
        return out


class NextItemNetwork(nn.Module):
    """Item vectors and a reader. `temperature` 0: dot products; else cosines divided by it (a two-tower)."""

    def __init__(self, items: nn.Module, reader: nn.Module, temperature: float = 0.0) -> None:
        """`items` is an `ItemVectors`, `reader` a `HistoryReader`."""
        super().__init__()
        self.items, self.reader, self.temperature = items, reader, temperature

    def item_vectors(self) -> tuple[Tensor, Tensor]:
        """Return the vectors [I, D] as histories read them, and as scores compare them."""
        vectors: Tensor = self.items()
        return vectors, vectors if self.temperature == 0.0 else normalize(vectors, dim=-1)

    def users(self, history: Padded, vectors: Tensor) -> Tensor:
        """Return user vectors [B, T, D] such that their dot product with the compared vectors is the score."""
        scale = vectors.shape[1] ** 0.5 if self.temperature == 0.0 else 1.0
        found: Tensor = self.reader(embedding(history.codes, vectors) * scale, history.length)
        return found if self.temperature == 0.0 else normalize(found, dim=-1) / self.temperature
