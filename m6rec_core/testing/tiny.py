"""A tiny random backbone and a byte-level tokenizer, built in memory in a moment: for tests only, never for results."""

from __future__ import annotations

from typing import Any, Literal

import torch

from m6rec_core.backbone.attention import NAME, Kernel
from m6rec_core.backbone.hf import Backbone, register_attention
from m6rec_core.tokens.tokenizer import TextTokenizer
from m6rec_core.types import BackboneSpec

Family = Literal["llama", "qwen2", "qwen3", "mistral"]
_CORPUS = (
    "A user liked the movie The Matrix, loved by most viewers: liked",
    "clicked a product of category boots named waterproof hiking shoes: disliked",
    "The user is now recommended a product. Yes No 0123456789",
)


def tiny_tokenizer(vocabulary: int = 320) -> Any:
    """A byte-level BPE tokenizer of transformers: every text can be written, as with the real ones."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_CORPUS, trainer)
    end = "<|endoftext|>"
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=end)  # type: ignore[no-untyped-call]


def tiny_config(family: Family, layers: int, vocabulary: int) -> Any:
    """A configuration of transformers with D = 32, H = 4 and two key-value heads."""
    from transformers import LlamaConfig, MistralConfig, Qwen2Config, Qwen3Config

    shape: dict[str, Any] = {
        "vocab_size": vocabulary,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": layers,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "max_position_embeddings": 2048,
        "tie_word_embeddings": True,
    }
    if family == "llama":
        return LlamaConfig(**shape)
    if family == "qwen2":
        return Qwen2Config(**{k: v for k, v in shape.items() if k != "head_dim"}, use_sliding_window=False)
    if family == "qwen3":
        return Qwen3Config(**shape, use_sliding_window=False)
    return MistralConfig(**shape, sliding_window=None)


def tiny_backbone(
    family: Family = "llama",
    layers: int = 3,
    dtype: torch.dtype = torch.float64,
    attention: Literal["causal", "prefix"] = "causal",
    seed: int = 0,
    kernel: Kernel = "plain",
) -> Backbone:
    """A random decoder of transformers; float64 by default, so that equivalences can be checked to rounding."""
    from transformers import AutoModelForCausalLM

    tokenizer = tiny_tokenizer()
    vocabulary = len(tokenizer)
    register_attention()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(tiny_config(family, layers, vocabulary), dtype=torch.float32)  # type: ignore[no-untyped-call]
        for parameter in model.parameters():
            if parameter.dim() > 1:
                torch.nn.init.normal_(parameter, std=0.15)
    for parameter in model.parameters():
        # Parameters only: rounding the rotary frequencies (a buffer) would move every position.
        parameter.data = parameter.data.to(dtype)
    model.config._attn_implementation = NAME
    spec = BackboneSpec(
        name=f"tiny-{family}",
        sha256=f"tiny-{family}-{layers}-{seed}",
        hidden=32,
        layers=layers,
        vocabulary=vocabulary,
        parameters=sum(p.numel() for p in model.parameters()),
        attention=attention,
    )
    return Backbone(model, TextTokenizer(tokenizer, vocabulary), spec, kernel)
