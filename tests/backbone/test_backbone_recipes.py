"""Backbones that packages bring by name, and what is refused when a folder is loaded."""

from __future__ import annotations

import importlib
import json
import shutil
import sys

import pytest
import torch

from m6rec_core.backbone.load import load_backbone, locate
from m6rec_core.backbone.recipes import BackboneRecipe
from m6rec_core.errors import AssetError, BackboneError, RegistryError
from m6rec_core.testing import tiny_backbone, tiny_tokenizer
from m6rec_core.testing.tiny import tiny_config

RECIPE = """
from m6rec_core.backbone.recipes import BackboneRecipe
from m6rec_core.errors import AssetError

def folder(say):
    say("looking")
    {body}

DECODER = BackboneRecipe(name="{name}", terms="{terms}", folder=folder)
"""


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A tiny backbone as transformers saves one."""
    folder = tmp_path_factory.mktemp("saved")
    tiny_backbone(dtype=torch.float32).decoder.save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture
def offer(tmp_path, monkeypatch):
    """Install a distribution that brings a backbone, without pip."""
    monkeypatch.delenv("M6REC_PLUGINS", raising=False)
    monkeypatch.delenv("M6REC_STRICT", raising=False)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)

    def write(source: str, entry: str = "house-decoder", distribution: str = "house"):
        module = f"fake_backbone_{distribution}"
        (tmp_path / f"{module}.py").write_text(source)
        info = tmp_path / f"{distribution}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[m6rec.backbones]\n{entry} = {module}:DECODER\n")
        importlib.invalidate_caches()

    yield write
    for name in [name for name in sys.modules if name.startswith("fake_backbone_")]:
        del sys.modules[name]


def recipe(body: str, name: str = "house-decoder", terms: str = "") -> str:
    return RECIPE.format(body=body, name=name, terms=terms)


def test_a_package_brings_a_backbone_by_name(offer, saved, tmp_path):
    offer(recipe(f"return {str(saved)!r}", terms="for the house"))
    (tmp_path / "house-decoder").mkdir()  # a folder of that name does not win, one written as a path does
    lines: list[str] = []
    backbone = load_backbone("house-decoder", torch.float32, say=lines.append)
    assert backbone.spec.name == "house-decoder"
    assert backbone.spec.sha256 == load_backbone(str(saved), torch.float32).spec.sha256
    assert lines == ["terms       house-decoder: for the house", "looking"]
    with pytest.raises(BackboneError, match=r"house-decoder: no config\.json"):
        locate("./house-decoder")


@pytest.mark.parametrize(
    ("source", "error", "message"),
    [
        ("raise OSError('no\\nshare')", RegistryError, "house 1.0 is broken: importing fake_backbone_house:DECODER"),
        ("DECODER = 3", RegistryError, "backbone 'house-decoder' of house 1.0: fake_backbone_house:DECODER is a int"),
        (recipe("return '.'", name="other"), RegistryError, "its recipe is called 'other'"),
        (recipe("return '/nowhere'"), BackboneError, "its recipe gave /nowhere, which holds no config.json"),
        (recipe("raise KeyError('x')"), BackboneError, "of house 1.0 cannot be had: its recipe failed with KeyError"),
        (recipe("raise AssetError('join the VPN')"), AssetError, "join the VPN"),
    ],
)
def test_a_faulty_recipe_is_one_line_that_names_its_owner(offer, source, error, message):
    offer(source)
    with pytest.raises(error) as caught:
        locate("house-decoder")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_names_are_taken_once(offer, saved, monkeypatch):
    offer(recipe(f"return {str(saved)!r}"), distribution="one")
    offer(recipe(f"return {str(saved)!r}"), distribution="two")
    offer(recipe("return '.'"), entry="smollm2-135m", distribution="greedy")
    with pytest.raises(RegistryError, match="one and two"):
        locate("house-decoder")
    with pytest.raises(RegistryError, match="'smollm2-135m' is offered by m6rec-core and greedy"):
        locate("smollm2-135m")
    monkeypatch.setenv("M6REC_PLUGINS", "two")
    assert locate("house-decoder") == saved


def test_a_misspelt_name_gets_the_near_one(offer):
    offer(recipe("return '.'"))
    with pytest.raises(BackboneError, match=r"did you mean 'house-decoder'\?.*known: house-decoder, smollm2-135m"):
        locate("house-decodr")


def test_a_recipe_is_data():
    one = BackboneRecipe(name="a", terms="", folder=lambda say: locate("a", say))
    with pytest.raises(AttributeError):
        one.name = "b"  # type: ignore[misc]


def spoilt(saved, target, **config):
    shutil.copytree(saved, target)
    file = target / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **config}))
    return target


def test_a_decoder_that_does_more_than_its_layers_is_refused(saved, tmp_path):
    """Granite has the parts of Llama and multiplies what they give: nothing would fail, every number would be wrong."""
    folder = spoilt(saved, tmp_path / "granite", model_type="granite", architectures=["GraniteForCausalLM"],
                    embedding_multiplier=6.0, residual_multiplier=0.2)  # fmt: skip
    with pytest.raises(BackboneError, match="does more between its layers than this project runs"):
        load_backbone(str(folder), torch.float32)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3", "mistral"])
def test_the_families_pass_the_comparison(family, dtype, tmp_path):
    tiny_backbone(family, dtype=torch.float32).decoder.save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    assert load_backbone(str(tmp_path), dtype).dtype is dtype


def test_weights_that_are_missing_are_not_made_up(saved, tmp_path):
    folder = spoilt(saved, tmp_path / "deeper", num_hidden_layers=4)
    with pytest.raises(BackboneError, match=r"lacks 9 tensors of its config, the first is model\.layers\.3"):
        load_backbone(str(folder), torch.float32)


def test_weights_that_are_cut_off_or_of_another_shape_are_one_line(saved, tmp_path):
    folder = spoilt(saved, tmp_path / "cut")
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(BackboneError, match="cannot be loaded"):
        load_backbone(str(folder), torch.float32)
    with pytest.raises(BackboneError, match="cannot be loaded") as caught:
        load_backbone(str(spoilt(saved, tmp_path / "wider", hidden_size=64)), torch.float32)
    assert "\n" not in str(caught.value)


def test_a_tokenizer_beyond_the_embedding_table_is_refused(saved, tmp_path):
    """Its ids would be taken for markers."""
    folder = tmp_path / "foreign"
    shutil.copytree(saved, folder)
    tiny_tokenizer(vocabulary=340).save_pretrained(folder)
    from transformers import AutoModelForCausalLM

    AutoModelForCausalLM.from_config(tiny_config("llama", 1, 300)).save_pretrained(folder)
    with pytest.raises(BackboneError, match="its embedding table 300"):
        load_backbone(str(folder), torch.float32)
