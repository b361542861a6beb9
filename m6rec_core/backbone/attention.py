"""Attention kernels behind one function of transformers' attention interface, chosen by device and by measuring.

On a CPU the backward of `scaled_dot_product_attention` in bf16 is slow, and transformers' eager attention repeats keys
for grouped heads and computes the softmax in float32. Three plain matrix steps with grouped queries were fastest
(docs/experiments/throughput.md). On CUDA, FlexAttention skips the blocks that nobody sees.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, Literal, cast

import torch
from torch import Tensor

from m6rec_core.tokens.layout import Layout, Scope

Kernel = Literal["plain", "sdpa", "flex"]
NAME = "m6rec"


def default_kernel(device: torch.device) -> Kernel:
    """The kernel that measured fastest for tuning on a device."""
    return "flex" if device.type == "cuda" else "plain"


def mask_for(kernel: Kernel, layout: Layout, scope: Scope, dtype: torch.dtype) -> Any:
    """The mask in the form a kernel takes: additive [G, 1, T, T], boolean [G, 1, T, T], or a BlockMask."""
    if kernel == "flex":
        return layout.flex(scope)
    return dense_mask(kernel, layout.visible(scope), dtype)


def dense_mask(kernel: Kernel, visible: Tensor, dtype: torch.dtype) -> Tensor:
    """A mask [G, 1, T, K] from `visible` [G, T (query), K (key)], additive for the kernel "plain", else boolean."""
    visible = visible[:, None]
    if kernel != "plain":
        return visible
    return torch.zeros(visible.shape, dtype=dtype, device=visible.device).masked_fill_(~visible, torch.finfo(dtype).min)


def attention(  # noqa: PLR0913, PLR0917 - the signature of transformers' attention interface
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Any,
    dropout: float = 0.0,
    scaling: float | None = None,
    position_ids: Tensor | None = None,
    sliding_window: int | None = None,
) -> tuple[Tensor, None]:
    """Grouped-query attention; query [G, H, T, d], key and value [G, H', K, d]; returns [G, T, H, d].

    The form of the mask picks the kernel. `sliding_window` is refused when the backbone is loaded, `position_ids` are
    already in the rotated query and key.
    """
    del module, dropout, position_ids, sliding_window
    groups = query.shape[1] // key.shape[1]
    if not isinstance(attention_mask, Tensor):
        flex = _flex(query.device.type)
        out = flex(query, key, value, block_mask=attention_mask, scale=scaling, enable_gqa=groups > 1)
    elif attention_mask.dtype == torch.bool:
        out = torch.nn.functional.scaled_dot_product_attention(
            query, key, value, attn_mask=attention_mask, scale=scaling, enable_gqa=groups > 1
        )
    else:
        packs, heads, tokens, width = query.shape
        keys = key.shape[2]
        scale = width**-0.5 if scaling is None else scaling
        stacked = (query * scale).reshape(packs, heads // groups, groups * tokens, width)
        scores = torch.matmul(stacked, key.transpose(-1, -2)).view(packs, heads, tokens, keys)
        scores = scores.add_(attention_mask)  # in place: the backward pass needs the softmax only
        weights = torch.softmax(scores, dim=-1).view(packs, heads // groups, groups * tokens, keys)
        out = torch.matmul(weights, value).view(packs, heads, tokens, width)
    return out.transpose(1, 2).contiguous(), None


@lru_cache(maxsize=4)
def _flex(device: str) -> Callable[..., Any]:
    """FlexAttention, compiled on CUDA: uncompiled it would build all scores and skip nothing."""
    from torch.nn.attention.flex_attention import flex_attention

    return cast(Callable[..., Any], torch.compile(flex_attention) if device == "cuda" else flex_attention)
