"""Tokens per second of the backbone with each attention kernel and number format, in one run.

    python tests/benchmarks/bench_attention.py [--backbone NAME] [--lengths 128 256 512]

`transformers` is the library's own eager attention, through the model's own forward. Training means a forward and the
backward to the input, as tuning needs it: the weights are frozen.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch

from m6rec_core.backbone.attention import NAME
from m6rec_core.backbone.hf import Backbone
from m6rec_core.backbone.load import load_backbone
from m6rec_core.tokens.layout import Layout

FORMATS = {"bf16": torch.bfloat16, "fp32": torch.float32}
TOKENS = 2048


def causal_layout(packs: int, tokens: int) -> Layout:
    """One long row per pack."""
    position = torch.arange(tokens).repeat(packs, 1)
    zero = torch.zeros_like(position)
    return Layout(end=zero + tokens, block=zero - 1, segment=zero, position=position, offset=position)


def forward_of(backbone: Backbone, kernel: str, layout: Layout) -> Callable[[torch.Tensor], torch.Tensor]:
    """A function from input embeddings to the last hidden states."""
    config = backbone.decoder.config
    if kernel == "transformers":
        config._attn_implementation = "eager"
        return lambda x: backbone.decoder.model(inputs_embeds=x, use_cache=False).last_hidden_state
    config._attn_implementation = NAME
    backbone.kernel = kernel  # type: ignore[assignment]
    return lambda x: backbone.final_norm(backbone.run(x, layout, 0, backbone.spec.layers))


def rates(forward: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor, repeats: int = 3) -> tuple[float, float]:
    """Tokens per second of forward alone and of forward with backward; the best of `repeats`."""
    tokens = x.shape[0] * x.shape[1]
    best = [float("inf"), float("inf")]
    for _ in range(repeats):
        with torch.no_grad():
            start = time.perf_counter()
            forward(x)
            best[0] = min(best[0], time.perf_counter() - start)
        leaf = x.clone().requires_grad_(True)
        start = time.perf_counter()
        forward(leaf).float().square().mean().backward()
        best[1] = min(best[1], time.perf_counter() - start)
    return tokens / best[0], tokens / best[1]


def main() -> None:
    """Print a line per format, kernel and length, and the ratio to transformers' own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backbone", default="smollm2-135m")
    parser.add_argument("--lengths", type=int, nargs="+", default=[128, 256, 512])
    parser.add_argument("--formats", nargs="+", default=list(FORMATS), choices=list(FORMATS))
    options = parser.parse_args()
    print("format  kernel        length  forward tok/s  training tok/s  ratio forward  ratio training")
    for name in options.formats:
        backbone = load_backbone(options.backbone, FORMATS[name])
        for length in options.lengths:
            packs = max(1, TOKENS // length)
            ids = torch.randint(
                10, backbone.spec.vocabulary, (packs, length), generator=torch.Generator().manual_seed(0)
            )
            x, layout = backbone.embed(ids).detach(), causal_layout(packs, length)
            reference: tuple[float, float] | None = None
            for kernel in ("transformers", "sdpa", "plain"):
                found = rates(forward_of(backbone, kernel, layout), x)
                reference = reference or found
                print(
                    f"{name:<6}  {kernel:<12}  {length:>6}  {found[0]:>13.0f}  {found[1]:>14.0f}  "
                    f"{found[0] / reference[0]:>13.2f}  {found[1] / reference[1]:>14.2f}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
