"""A backbone is run layer by layer: checked once, when it is loaded, against the model's own forward.

Decoders with the same parts may combine them otherwise (Gemma scales its embeddings, Granite its residuals). Nothing
would fail, and every number would be wrong.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from m6rec_core.errors import BackboneError
from m6rec_core.tokens.layout import Layout

if TYPE_CHECKING:
    from m6rec_core.backbone.hf import Backbone

PROBE = 8
"""Tokens that are compared: enough for positions and attention to matter, milliseconds to run."""
_TOLERANCE = {torch.float64: 1e-6, torch.float32: 1e-3}
_HALF_TOLERANCE = 0.1
"""Distance relative to the logits' own size; wrong arithmetic is far beyond it, rounding far below."""


@torch.no_grad()
def own_logits(model: Any) -> Tensor:
    """The logits [T, V] that a causal model of transformers gives for a few tokens by its own forward."""
    logits: Tensor = model.eval()(input_ids=_probe(model.get_input_embeddings().weight.shape[0])).logits
    return logits[0].double()


@torch.no_grad()
def check_same_logits(backbone: Backbone, own: Tensor) -> None:
    """Raise BackboneError unless running the layers one by one gives the logits `own`, but for rounding."""
    ids = _probe(backbone.spec.vocabulary)
    place = torch.arange(ids.shape[1])[None]
    layout = Layout(torch.full_like(place, ids.shape[1]), torch.full_like(place, -1), 0 * place, place, place)
    hidden = backbone.run(backbone.embed(ids), layout, 0, backbone.spec.layers)
    logits = backbone.vocabulary(backbone.final_norm(hidden))[0].double()
    distance = float((logits - own).norm() / own.norm())
    if not distance <= _TOLERANCE.get(backbone.dtype, _HALF_TOLERANCE):
        raise BackboneError(
            f"backbone '{backbone.spec.name}' ({type(backbone.decoder).__name__}) does more between its layers than "
            f"this project runs (its logits differ by {distance:.0%}); use one of the Llama, Qwen2, Qwen3, Mistral or "
            "SmolLM families"
        )


def _probe(vocabulary: int) -> Tensor:
    return (torch.arange(PROBE)[None] * 37 + 1) % vocabulary
