"""Who sees whom: one attention mask and one set of positions from a few integers per token.

Rows of a batch are merged where they begin alike, into a forest of tokens in pre-order (`m6rec_core.tokens.tree`). In
pre-order the descendants of token k are exactly the tokens k + 1 .. end[k] - 1, so one integer per token gives the rule

    k is visible to q  iff  k <= q < end[k],  or k and q lie in the same bidirectional block.

This one rule is: causal attention; packing (no token of one tree lies in another); scoring N candidates of one user
with a shared trunk; whole user streams; the two regions of the paper's Fig. 1 (the source is one block, which the
target sees and which never sees the target). Late interaction (paper 3.3, Fig. 4) adds one condition in the lower
layers: q and k lie in the same segment, and positions restart in each segment.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

if TYPE_CHECKING:
    from torch.nn.attention.flex_attention import BlockMask

Scope = Literal["row", "segment"]


@dataclass(frozen=True, slots=True)
class Layout:
    """Per-token metadata of G packs of T tokens, all int64 [G, T].

    `end`: exclusive end of the token's subtree. `block`: id of its bidirectional block, -1 where attention is causal.
    `segment`: id of its segment, unique in the pack. `position`: its place in its row. `offset`: its place in its
    segment.
    A padding token has end = own index + 1 (it sees itself, so that no softmax is empty) and its own segment.
    """

    end: Tensor
    block: Tensor
    segment: Tensor
    position: Tensor
    offset: Tensor

    def __post_init__(self) -> None:
        """Refuse fields of different shapes (ValueError)."""
        shapes = {tuple(t.shape) for t in (self.end, self.block, self.segment, self.position, self.offset)}
        if len(shapes) != 1 or self.end.dim() != 2:
            raise ValueError(f"layout fields must share one shape [G, T], got {sorted(shapes)}")

    def visible(self, scope: Scope = "row") -> Tensor:
        """Dense boolean mask [G, T (query), T (key)]."""
        index = torch.arange(self.end.shape[1], device=self.end.device)
        query, key = index[None, :, None], index[None, None, :]
        mask = (key <= query) & (query < self.end[:, None, :])
        mask = mask | ((self.block[:, :, None] == self.block[:, None, :]) & (self.block[:, :, None] >= 0))
        if scope == "segment":
            mask = mask & (self.segment[:, :, None] == self.segment[:, None, :])
        return mask

    def flex(self, scope: Scope = "row") -> BlockMask:
        """The same mask for FlexAttention, which skips blocks that nobody sees."""
        from torch.nn.attention.flex_attention import create_block_mask

        end, block, segment = self.end, self.block, self.segment

        def rule(g: Tensor, _head: Tensor, q: Tensor, k: Tensor) -> Tensor:
            seen = (k <= q) & (q < end[g, k])
            seen = seen | ((block[g, q] == block[g, k]) & (block[g, q] >= 0))
            if scope == "segment":
                seen = seen & (segment[g, q] == segment[g, k])
            return seen

        packs, tokens = end.shape
        return create_block_mask(rule, packs, None, tokens, tokens, device=str(end.device))

    def positions(self, scope: Scope = "row") -> Tensor:
        """Positions [G, T]: running through the row, or restarting in each segment (paper 3.3)."""
        return self.offset if scope == "segment" else self.position

    def to(self, device: torch.device | str) -> Layout:
        """The layout on another device."""
        return Layout(*(t.to(device) for t in (self.end, self.block, self.segment, self.position, self.offset)))


def soft_layout(prompts: int, markers: int, causal: bool, device: torch.device | str) -> Layout:
    """The layout of one pack with P `prompts`, which are one segment, and `markers`, each of which is its own."""
    index = torch.arange(prompts + markers, device=device)
    inside = index < prompts
    offset = torch.where(inside, index, 0)
    return Layout(
        end=torch.where(inside, prompts, index + 1)[None],
        block=(torch.where(inside, 0, -1) if not causal else torch.full_like(index, -1))[None],
        segment=torch.where(inside, 0, index + 1)[None],
        position=offset[None],
        offset=offset[None],
    )


def separate_layout(lengths: Sequence[int], mutual: Sequence[bool], device: torch.device | str) -> Layout:
    """The layout of G segments, each a pack by itself, padded to the longest of `lengths`.

    `mutual`: whether a segment's tokens see each other both ways. Padding sees itself only.
    """
    width = max(lengths)
    index = torch.arange(width, device=device)[None]
    size = torch.tensor(list(lengths), device=device)[:, None]
    both = torch.tensor(list(mutual), device=device)[:, None]
    inside = index < size
    position = torch.where(inside, index, 0)
    return Layout(
        end=torch.where(inside, size, index + 1),
        block=torch.where(inside & both, 0, -1),
        segment=torch.where(inside, 0, index + 1),
        position=position,
        offset=position,
    )
