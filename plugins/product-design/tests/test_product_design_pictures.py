"""Titles as pictures: a pipeline made by the test, and a tiny random one of diffusers where that is installed."""

from __future__ import annotations

import hashlib
import json
import sys
from types import ModuleType, SimpleNamespace

import pytest
from m6rec_plugin_product_design.pictures import DiffusersPainter, check_folder, paint

from m6rec_core.errors import ConfigError, DataError, RegistryError
from m6rec_core.generation import open_pipeline, pictures

Image = pytest.importorskip("PIL.Image", reason="Pillow is part of the extra `pictures`")
DESIGNS = [("a", 1, "hats", "blue hat"), ("a", 2, "hats", "🎩"), ("b", 1, "", "A/B ../hat")]


def sketches(source):
    """A pipeline: every text and seed has a colour of its own."""

    def draw(text, seed):
        digest = hashlib.sha256(f"{source} {seed} {text}".encode()).digest()
        return Image.new("RGB", (4, 4), tuple(digest[:3]))

    return draw


def test_pictures_lie_beside_their_titles(tmp_path):
    folder = tmp_path / "new" / "out"
    painted = paint(sketches(""), DESIGNS, folder)
    assert [one.picture for one in painted] == ["001-blue-hat.png", "002-design.png", "003-a-b-hat.png"]
    rows = json.loads((folder / "designs.json").read_text(encoding="utf-8"))
    assert [(row["sample"], row["number"], row["category"], row["title"]) for row in rows] == DESIGNS
    colours = {Image.open(folder / row["picture"]).getpixel((0, 0)) for row in rows}
    assert len(colours) == 3
    assert sorted(path.name for path in folder.parent.iterdir()) == ["out"]
    with pytest.raises(DataError, match="not an empty folder"):
        paint(sketches(""), DESIGNS, folder)


def test_nothing_is_left_where_painting_fails(tmp_path):
    def broken(text, seed):
        if seed == 0 and "/" in text:
            raise OSError(28, "No space left on device")
        return sketches("")(text, seed)

    with pytest.raises(DataError, match=r"cannot be written .No space left"):
        paint(broken, DESIGNS, tmp_path / "out")
    assert not list(tmp_path.iterdir())
    (tmp_path / "file").write_text("x")
    with pytest.raises(DataError, match="not an empty folder"):
        check_folder(tmp_path / "file")
    check_folder(tmp_path / "new")


def test_pipelines_by_name(monkeypatch):
    offered = {"sketches": sketches, "broken": lambda source: None, "text": "x"}
    monkeypatch.setattr(pictures, "load_entry", lambda group, name: offered[name])
    one, other = open_pipeline("sketches:one"), open_pipeline("sketches:two:three")
    assert one("hat", 0).getpixel((0, 0)) == sketches("one")("hat", 0).getpixel((0, 0))
    assert other("hat", 0).getpixel((0, 0)) == sketches("two:three")("hat", 0).getpixel((0, 0))
    with pytest.raises(RegistryError, match="made a NoneType"):
        open_pipeline("broken")
    with pytest.raises(RegistryError, match="it is a str"):
        open_pipeline("text")


def test_diffusers_is_found_and_says_what_it_needs(monkeypatch):
    with pytest.raises(ConfigError, match=r"diffusers:FOLDER"):
        open_pipeline("diffusers")
    monkeypatch.setitem(sys.modules, "diffusers", None)
    with pytest.raises(ConfigError, match=r"pip install 'm6rec-plugin-product-design\[pictures\]'"):
        open_pipeline("diffusers:folder")


def test_the_painter_hands_over_text_and_seed(monkeypatch):
    seen = []

    class Pipeline:
        @classmethod
        def from_pretrained(cls, source, use_safetensors):
            assert use_safetensors  # never a pickle
            if source == "missing":
                raise OSError("there is\nnothing")
            return cls()

        def __call__(self, text, generator):
            seen.append((text, generator.initial_seed()))
            return SimpleNamespace(images=[Image.new("RGB", (2, 2))])

    module = ModuleType("diffusers")
    module.DiffusionPipeline = Pipeline
    monkeypatch.setitem(sys.modules, "diffusers", module)
    painter = open_pipeline("diffusers:folder")
    assert isinstance(painter, DiffusersPainter)
    assert painter("blue hat", 3).size == (2, 2)
    assert seen == [("blue hat", 3)]
    with pytest.raises(ConfigError, match=r"diffusers:missing: cannot be loaded .there is nothing"):
        open_pipeline("diffusers:missing")


def test_a_tiny_random_pipeline_of_diffusers(tmp_path):
    pytest.importorskip("diffusers", reason="diffusers is part of the extra `pictures`")
    import torch
    from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import CLIPTextConfig, CLIPTextModel, PreTrainedTokenizerFast

    torch.manual_seed(0)
    words = {word: place for place, word in enumerate(["<pad>", "<end>", "blue", "red", "hat", "<unk>"])}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))  # noqa: S106 - no password
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    special = {"pad_token": "<pad>", "eos_token": "<end>", "unk_token": "<unk>"}
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=8, **special)
    text = CLIPTextModel(
        CLIPTextConfig(vocab_size=6, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2,
                       max_position_embeddings=8, bos_token_id=0, eos_token_id=1, pad_token_id=0)
    )  # fmt: skip
    unet = UNet2DConditionModel(sample_size=8, block_out_channels=(8, 8), norm_num_groups=4, layers_per_block=1,
                                down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
                                up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"), cross_attention_dim=8,
                                attention_head_dim=4)  # fmt: skip
    vae = AutoencoderKL(block_out_channels=(8,), norm_num_groups=4, sample_size=8)
    made = StableDiffusionPipeline(vae=vae, text_encoder=text, tokenizer=fast, unet=unet,
                                   scheduler=DDIMScheduler(steps_offset=1, clip_sample=False),
                                   safety_checker=None, feature_extractor=None,
                                   requires_safety_checker=False)  # fmt: skip
    made.save_pretrained(tmp_path / "pipeline")
    painter = open_pipeline(f"diffusers:{tmp_path / 'pipeline'}")
    painted = paint(painter, [("a", 1, "hats", "blue hat"), ("a", 2, "hats", "red hat")], tmp_path / "out")
    shown = [list(Image.open(tmp_path / "out" / one.picture).convert("RGB").get_flattened_data()) for one in painted]
    assert shown[0] != shown[1]
    assert list(painter("blue hat", 0).convert("RGB").get_flattened_data()) == shown[0]
