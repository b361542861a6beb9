"""Find, fetch, convert and load a backbone: a shipped name, one that a package brings, a folder, or a hub id."""

from __future__ import annotations

import contextlib
import difflib
import hashlib
import io
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from m6rec_core import assets
from m6rec_core.backbone.attention import NAME, Kernel
from m6rec_core.backbone.hf import Backbone, register_attention
from m6rec_core.backbone.parity import check_same_logits, own_logits
from m6rec_core.backbone.recipes import recipe_entries, recipe_folder
from m6rec_core.errors import BackboneError
from m6rec_core.tokens.tokenizer import TextTokenizer
from m6rec_core.types import BackboneSpec

DEFAULT = "smollm2-135m"
_GGUF = {DEFAULT: "SmolLM2-135M-Instruct.Q4_1.gguf"}
Say = Callable[[str], None]


def load_backbone(
    name: str,
    dtype: torch.dtype,
    device: torch.device | str = "cpu",
    say: Say = lambda _line: None,
    kernel: Kernel | None = None,
) -> Backbone:
    """Load a backbone frozen, in `dtype`, on `device`.

    `name`: a known name (`m6rec assets list`), a folder with config.json and safetensors, or a hub id. Raises
    BackboneError when it cannot be found or has an unsupported structure, AssetError when it cannot be fetched,
    RegistryError when the package that brings the name is broken.
    """
    folder = locate(name, say)
    model, tokenizer = _read(folder, name, dtype)
    register_attention()
    own = own_logits(model)
    model.config._attn_implementation = NAME
    spec = BackboneSpec(
        name=Path(name).name if Path(name).is_dir() else name,
        sha256=weights_sha256(folder),
        hidden=int(model.config.hidden_size),
        layers=int(model.config.num_hidden_layers),
        vocabulary=int(model.get_input_embeddings().weight.shape[0]),
        parameters=sum(p.numel() for p in {id(p): p for p in model.parameters()}.values()),
        attention=str(getattr(model.config, "m6rec_attention", "causal")),
    )
    if len(tokenizer) > spec.vocabulary:
        # An id above the embedding table would be taken for a marker.
        raise BackboneError(
            f"backbone '{name}': its tokenizer has {len(tokenizer):,} tokens, its embedding table {spec.vocabulary:,}; "
            "save the model and the tokenizer that belong together"
        )
    backbone = Backbone(model, TextTokenizer(tokenizer, spec.vocabulary), spec, kernel)
    check_same_logits(backbone, own)
    return backbone.to(device)


def locate(name: str, say: Say = lambda _line: None) -> Path:
    """The folder of a backbone, fetched (and converted) where it is a known name or a hub id.

    A known name wins over a folder of that name; a folder written as a path ("./name") is always a folder.
    """
    brought = recipe_folder(name, name in _GGUF, say)
    if brought is not None:
        return brought
    if name in _GGUF:
        return _converted(name, say)
    folder = Path(name).expanduser()
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise BackboneError(f"{folder}: no config.json in this folder; give a folder saved by transformers")
        return folder
    if name.startswith((".", "/", "~")) or name.count("/") != 1:
        known = sorted({*_GGUF, *(entry.name for entry in recipe_entries())})
        near = difflib.get_close_matches(name, known, 1)
        hint = f"; did you mean '{near[0]}'?" if near else ""
        raise BackboneError(
            f"backbone '{name}' is no folder and no known name{hint} (known: {', '.join(known)}, or a hub id like "
            "owner/model)"
        )
    return _snapshot(name)


def _snapshot(name: str) -> Path:
    """The local copy of a hub id, so that a pack is tied to the same weight files however they are loaded."""
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, allow_patterns=["*.json", "*.safetensors", "*.txt", "*.model"]))
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise BackboneError(
            f"backbone '{name}' cannot be fetched from the hub: {reason} (offline? use a folder, or '{DEFAULT}')"
        ) from error


def _read(folder: Path, name: str, dtype: torch.dtype) -> tuple[Any, Any]:
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        read: Any = AutoModelForCausalLM.from_pretrained(
            str(folder), dtype=dtype, use_safetensors=True, output_loading_info=True
        )
        model, found = read
        tokenizer = AutoTokenizer.from_pretrained(str(folder))
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise BackboneError(f"backbone '{name}' in {folder} cannot be loaded: {reason}; save it again") from error
    missing = sorted(found["missing_keys"])
    if missing:
        # transformers would go on with random numbers in their place
        raise BackboneError(
            f"backbone '{name}' in {folder} lacks {len(missing)} tensors of its config, the first is {missing[0]}; "
            "save it again"
        )
    return model, tokenizer


def _converted(name: str, say: Say) -> Path:
    """The safetensors folder of a GGUF asset, converted once and written atomically."""
    target = assets.home() / "backbones" / name
    if (target / "config.json").is_file():
        return target
    source = assets.fetch(name)
    say(f"converting {name} to safetensors (once, about half a minute)")
    began = time.monotonic()
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=target.parent))
    try:
        _convert(source, _GGUF[name], partial)
        partial.chmod(0o755)  # the home may be shared: temporary folders are for their owner alone
        for file in partial.iterdir():
            file.chmod(0o644)
        os.replace(partial, target)
        say(f"converted in {time.monotonic() - began:.0f} s: {target}")
    except OSError:
        # Another process finished first: its folder is as good as ours.
        if not (target / "config.json").is_file():
            raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return target


def _convert(source: Path, filename: str, target: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    try:
        with _without_bars():
            packed = AutoModelForCausalLM.from_pretrained(str(source), gguf_file=filename, dtype=torch.float32)
        config = packed.config
        if hasattr(config, "quantization_config"):
            del config.quantization_config
        state = {k: v.to(torch.bfloat16) for k, v in packed.state_dict().items()}
        model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)  # type: ignore[no-untyped-call]
        model.load_state_dict(state)
        model.save_pretrained(target)
        with _without_bars():
            AutoTokenizer.from_pretrained(str(source), gguf_file=filename).save_pretrained(target)
    finally:
        logging.set_verbosity(verbosity)


@contextmanager
def _without_bars() -> Iterator[None]:
    """Drop what tqdm draws: transformers converts GGUF tensors under a bar that its own switch does not silence."""
    with contextlib.redirect_stderr(io.StringIO()):
        yield


def weights_sha256(folder: Path) -> str:
    """Hash of the weight files of a folder, in name order: the identity that a task pack is tied to."""
    digest = hashlib.sha256()
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise BackboneError(f"{folder}: no safetensors file in this folder; only safetensors weights are loaded")
    for file in files:
        with file.open("rb") as stream:
            while block := stream.read(1 << 22):
                digest.update(block)
    return digest.hexdigest()
