"""Any pre-norm RoPE decoder of transformers (Llama, Qwen2, Qwen3, Mistral, SmolLM) behind the project's interface.

No model code is copied: the layers' own norms, attention and feed-forward modules are called one after another, which
lets a slice of layers run by itself and an adapter be added to each feed-forward network without touching the model.
"""

from __future__ import annotations

import sys
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn

from m6rec_core.backbone.attention import NAME, Kernel, attention, default_kernel, dense_mask, mask_for
from m6rec_core.backbone.cache import KeyValues
from m6rec_core.errors import BackboneError
from m6rec_core.tokens.layout import Layout, Scope
from m6rec_core.tokens.tokenizer import TextTokenizer
from m6rec_core.types import BackboneSpec

_LAYER_PARTS = ("input_layernorm", "self_attn", "post_attention_layernorm", "mlp")
_ATTENTION_PARTS = ("q_proj", "k_proj", "v_proj", "o_proj", "head_dim", "scaling")


class LayerAdapters(Protocol):
    """What a task adds inside a layer, None for nothing."""

    def ffn(self, layer: int, z: Tensor) -> Tensor | None:
        """Return what to add to the output of the feed-forward network of `layer`, given its input z (paper 3.4)."""
        ...

    def attention(self, layer: int, z: Tensor) -> Tensor | None:
        """Return what to add to the input z [G, T, D] of the attention of `layer`."""
        ...


class Backbone(nn.Module):
    """A frozen decoder. All tensors keep its dtype; call `unfreeze` for fine-tuning."""

    def __init__(self, model: Any, tokenizer: TextTokenizer, spec: BackboneSpec, kernel: Kernel | None = None) -> None:
        """Freeze `model`, a causal decoder of transformers; `kernel` None takes the device's default.

        Raises BackboneError when the model is not of a supported structure.
        """
        super().__init__()
        _check_structure(model, spec.name)
        self.decoder = model
        self.tokenizer = tokenizer
        self.spec = spec
        self.kernel = kernel
        self.requires_grad_(False)
        self.eval()

    @property
    def dtype(self) -> torch.dtype:
        """Type of the hidden states."""
        return cast(torch.dtype, self.decoder.lm_head.weight.dtype)

    @property
    def embedding(self) -> Tensor:
        """The token embedding table [V, D]."""
        return cast(Tensor, self.decoder.model.embed_tokens.weight)

    @property
    def heads(self) -> int:
        """Number of attention heads H."""
        return int(self.decoder.config.num_attention_heads)

    @property
    def positions(self) -> int | None:
        """The longest row it was pretrained on, None where its config does not say."""
        longest = getattr(self.decoder.config, "max_position_embeddings", None)
        return int(longest) if longest else None

    @property
    def causal(self) -> bool:
        """Whether the source region is causal too (pretrained decoders) or bidirectional (paper Fig. 1)."""
        return self.spec.attention == "causal"

    def embed(self, ids: Tensor) -> Tensor:
        """Token ids [G, T] to hidden states [G, T, D]."""
        return cast(Tensor, self.decoder.model.embed_tokens(ids))

    def run(
        self,
        hidden: Tensor,
        layout: Layout,
        start: int,
        stop: int,
        adapters: LayerAdapters | None = None,
        scope: Scope = "row",
        read: Tensor | None = None,
        cache: KeyValues | None = None,
    ) -> Tensor:
        """Run layers [start, stop) on hidden states [G, T, D].

        `scope="segment"` lets tokens see their own segment only (paper 3.3, the lower layers). `cache` is shown the
        keys and values of each layer. `read` [R]: flat places g * T + t; only their states [R, D] are returned, and the
        last layer runs for them alone, but for its keys and values (its ffn adapter then gets z [R, D]).
        """
        if not 0 <= start <= stop <= self.spec.layers:
            raise ValueError(f"layers [{start}, {stop}) are not within [0, {self.spec.layers})")
        kernel = self.kernel or default_kernel(hidden.device)
        mask = mask_for(kernel, layout, scope, hidden.dtype)
        rotary = self.decoder.model.rotary_emb(hidden, layout.positions(scope))
        return self._layers(hidden, rotary, mask, range(start, stop), adapters, cache, read)

    def step(
        self,
        hidden: Tensor,
        positions: Tensor,
        visible: Tensor,
        cache: KeyValues,
        adapters: LayerAdapters | None = None,
    ) -> Tensor:
        """Run all layers on new tokens only, [G, T, D], whose earlier keys and values are in `cache`.

        `positions` [G, T]: their places in their rows. `visible` [G, T, K]: which of the K keys that the cache returns,
        the new tokens' own among them, each may see.
        """
        kernel = self.kernel or default_kernel(hidden.device)
        mask = dense_mask(kernel, visible, hidden.dtype)
        rotary = self.decoder.model.rotary_emb(hidden, positions)
        return self._layers(hidden, rotary, mask, range(self.spec.layers), adapters, cache)

    def _layers(
        self,
        hidden: Tensor,
        rotary: Any,
        mask: Any,
        indices: range,
        adapters: LayerAdapters | None,
        cache: KeyValues | None,
        read: Tensor | None = None,
    ) -> Tensor:
        for index in indices:
            layer = self.decoder.model.layers[index]
            z = layer.input_layernorm(hidden)
            extra = adapters.attention(index, z) if adapters is not None else None
            z = z if extra is None else z + extra
            last = read if index == indices.stop - 1 else None
            if last is not None and cache is None and isinstance(mask, Tensor) and _readable(layer.self_attn):
                hidden = hidden.reshape(-1, hidden.shape[-1])[last] + _attend_at(layer.self_attn, z, rotary, mask, last)
            else:
                attended, _ = layer.self_attn(
                    hidden_states=z, position_embeddings=rotary, attention_mask=mask, past_key_values=cache
                )
                hidden = hidden + attended
                hidden = hidden if last is None else hidden.reshape(-1, hidden.shape[-1])[last]
            z = layer.post_attention_layernorm(hidden)
            added = layer.mlp(z)
            extra = adapters.ffn(index, z) if adapters is not None else None
            hidden = hidden + (added if extra is None else added + extra)
        if read is not None and not indices:
            return hidden.reshape(-1, hidden.shape[-1])[read]
        return hidden

    def final_norm(self, hidden: Tensor) -> Tensor:
        """The norm before the output layer, [.., D] to [.., D]."""
        return cast(Tensor, self.decoder.model.norm(hidden))

    def vocabulary(self, hidden: Tensor) -> Tensor:
        """Logits [.., V] of final-norm hidden states [.., D]."""
        return cast(Tensor, self.decoder.lm_head(hidden.to(self.dtype)))

    def unfreeze(self) -> None:
        """Let every weight train, in float32 at least (fine-tuning, the paper's comparison mode)."""
        self.to(torch.promote_types(self.dtype, torch.float32))
        self.requires_grad_(True)


def _readable(module: Any) -> bool:
    """Whether an attention module has the parts that `_attend_at` calls one by one."""
    return _rotation(module) is not None and all(hasattr(module, part) for part in _ATTENTION_PARTS)


def _rotation(module: Any) -> Any:
    """The model family's own function that applies rotary positions."""
    return getattr(sys.modules[type(module).__module__], "apply_rotary_pos_emb", None)


def _attend_at(module: Any, z: Tensor, rotary: Any, mask: Tensor, read: Tensor) -> Tensor:
    """The output of an attention module at the flat places `read` only: [R, D]; z [G, T, D], mask [G, 1, T, T].

    All tokens get keys and values; queries, scores and the output projection are computed for the places alone.
    """
    packs, tokens, _ = z.shape
    pack, place = read // tokens, read % tokens
    counts = torch.bincount(pack, minlength=packs)
    order = torch.argsort(pack, stable=True)
    column = torch.empty_like(read)
    column[order] = torch.arange(len(read), device=read.device) - (counts.cumsum(0) - counts)[pack[order]]
    chosen = place.new_zeros(packs, int(counts.max()))
    chosen[pack, column] = place  # packs with fewer places read their first token again
    row = torch.arange(packs, device=read.device)[:, None]
    rotate, width = _rotation(module), module.head_dim
    query = module.q_proj(z[row, chosen]).view(packs, chosen.shape[1], -1, width)
    key = module.k_proj(z).view(packs, tokens, -1, width)
    if hasattr(module, "q_norm"):
        query, key = module.q_norm(query), module.k_norm(key)
    query, key = query.transpose(1, 2), key.transpose(1, 2)
    value = module.v_proj(z).view(packs, tokens, -1, width).transpose(1, 2)
    cos, sin = (part.expand(packs, -1, -1) for part in rotary)
    key = rotate(key, key[:, :0], cos, sin)[0]
    query = rotate(query, query[:, :0], cos[row, chosen], sin[row, chosen])[0]
    out, _ = attention(module, query, key, value, mask[row, 0, chosen][:, None], scaling=module.scaling)
    projected: Tensor = module.o_proj(out.flatten(2))
    return projected[pack, column]


def register_attention() -> None:
    """Tell transformers about the project's attention function (idempotent)."""
    from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    ALL_ATTENTION_FUNCTIONS.register(NAME, attention)
    # Masks always come ready-made from the layout; transformers must not build its own.
    ALL_MASK_ATTENTION_FUNCTIONS.register(NAME, lambda *_args, **_kwargs: None)


def _check_structure(model: Any, name: str) -> None:
    inner = getattr(model, "model", None)
    layers = getattr(inner, "layers", None)
    known = inner is not None and all(hasattr(inner, part) for part in ("embed_tokens", "norm", "rotary_emb"))
    if not known or not layers or any(not hasattr(layers[0], part) for part in _LAYER_PARTS):
        raise BackboneError(
            f"backbone '{name}' ({type(model).__name__}) is not a pre-norm RoPE decoder; use one of the Llama, Qwen2, "
            "Qwen3, Mistral or SmolLM families"
        )
    extra = [n for n, _ in layers[0].named_children() if n not in _LAYER_PARTS]
    if extra:
        raise BackboneError(f"backbone '{name}' has layer parts this project does not run: {', '.join(extra)}")
    if getattr(model.config, "sliding_window", None) and getattr(model.config, "use_sliding_window", True):
        raise BackboneError(f"backbone '{name}' uses sliding-window attention, which the layouts do not express")
