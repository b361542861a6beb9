import json
import os

import pytest
import torch
from torch import nn

from m6rec_core.config import TuningConfig
from m6rec_core.errors import PackError
from m6rec_core.files import sha256_of
from m6rec_core.heads.calibration import NumericCalibration
from m6rec_core.tuning import pack
from m6rec_core.tuning.budget import plan
from m6rec_core.tuning.pack import (
    PackManifest,
    PackPlugin,
    check_pack,
    load_state,
    pack_backbone,
    read_manifest,
    round_to_pack,
    save_pack,
)
from m6rec_core.tuning.task import TaskTuning, build_tuning
from m6rec_core.types import BackboneSpec

SPEC = BackboneSpec("tiny", "ab" * 32, 16, 4, 40, 20_000, "causal")
CONFIG = TuningConfig(budget=0.5)
PLAN = plan(CONFIG, SPEC, 4, 2, 0)


def build(seed: int = 0) -> tuple[TaskTuning, nn.Module]:
    """A tuning and a head as training would leave them: no parameter is a round number."""
    generator = torch.Generator().manual_seed(seed)
    table = torch.randn(40, 16, generator=generator) * 0.1
    tuning = build_tuning(CONFIG, PLAN, SPEC, table, [7], [[3], [4]], seed)
    head = NumericCalibration(3)
    head.fit_scale(torch.randn(9, 3, generator=generator))
    with torch.no_grad():
        for parameter in [*tuning.parameters(), *head.parameters()]:
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.01)
    return tuning, head


def manifest() -> PackManifest:
    return PackManifest(
        task="ctr",
        hook_api=1,
        backbone=pack_backbone(SPEC),
        plugin=PackPlugin(distribution="m6rec-plugin-ctr", version="0.1.0"),
        settings={"options": [" No", " Yes"], "max_tokens": 512},
        tuning=CONFIG,
        plan=PLAN,
        summary={"valid_auc": 0.75, "undefined": float("nan")},
    )


def state(*modules: nn.Module) -> list[torch.Tensor]:
    return [value.clone() for module in modules for value in module.state_dict().values()]


def same(first: list[torch.Tensor], second: list[torch.Tensor]) -> bool:
    return len(first) == len(second) and all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("rounded", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_pack_holds_exactly_what_was_live(tmp_path, rounded, dtype):
    tuning, head = (module.to(dtype) for module in build(1))
    if rounded:
        round_to_pack(tuning, head)
    save_pack(tmp_path / "pack", tuning, head, manifest())
    other_tuning, other_head = (module.to(dtype) for module in build(2))
    assert not same(state(tuning, head), state(other_tuning, other_head))
    assert load_state(tmp_path / "pack", other_tuning, other_head) == {}
    assert same(state(tuning, head), state(other_tuning, other_head))


def test_the_default_pack_is_small(tmp_path):
    spec = BackboneSpec("smollm2-135m", "0" * 64, 576, 30, 49_152, 134_515_008, "causal")
    chosen = plan(TuningConfig(), spec, 9, 2, 0)
    tuning = build_tuning(TuningConfig(), chosen, spec, torch.randn(50, 576) * 0.1, [7], [[3], [4]], 0)
    head = NumericCalibration(5)
    with torch.no_grad():
        for parameter in tuning.parameters():
            parameter.add_(torch.randn(parameter.shape) * 0.01)
    before = [p.detach().clone() for p in tuning.parameters()]
    round_to_pack(tuning, head)
    save_pack(tmp_path / "pack", tuning, head, manifest())
    assert sum(file.stat().st_size for file in (tmp_path / "pack").iterdir()) < 3_000_000
    for old, new in zip(before, tuning.parameters(), strict=True):
        assert float((old - new.detach()).abs().max()) <= float(old.abs().max()) * 2**-11


def test_float16_errs_less_than_bfloat16_on_tuned_values():
    tuning, _ = build(3)
    for parameter in tuning.parameters():
        half = (parameter - parameter.half().float()).square().mean()
        brain = (parameter - parameter.bfloat16().float()).square().mean()
        assert half < brain or parameter.numel() == 1


def test_rounding_twice_changes_nothing_and_leaves_buffers():
    tuning, head = build(4)
    buffers = [b.clone() for b in head.buffers()]
    round_to_pack(tuning, head)
    once = state(tuning, head)
    round_to_pack(tuning, head)
    assert same(once, state(tuning, head))
    assert same(buffers, list(head.buffers()))


@pytest.mark.parametrize("value", [1e5, 3e-9])
def test_values_float16_cannot_hold_stay_float32(tmp_path, value):
    tuning, head = build(5)
    with torch.no_grad():
        head.get_parameter("weight").fill_(value)
    exact = head.get_parameter("weight").clone()
    round_to_pack(tuning, head)
    assert torch.equal(head.get_parameter("weight"), exact)
    save_pack(tmp_path / "pack", tuning, head, manifest())
    other_tuning, other_head = build(6)
    load_state(tmp_path / "pack", other_tuning, other_head)
    assert torch.equal(other_head.get_parameter("weight"), exact)


def test_the_manifest_comes_back(tmp_path):
    written = save_pack(tmp_path / "pack", *build(), manifest())
    read = read_manifest(tmp_path / "pack")
    assert read.summary["undefined"] is None
    assert read.model_copy(update={"summary": {}}) == written.model_copy(update={"summary": {}})
    assert len(read.tensors_sha256) == 64
    check_pack(tmp_path / "pack", read, SPEC, hook_api=1)


def test_the_backbone_of_fine_tuning_is_kept(tmp_path):
    tuning, head = build()
    weights = {"layers.0.weight": torch.randn(4, 4).bfloat16(), "tied": torch.randn(3)}
    save_pack(tmp_path / "pack", tuning, head, manifest(), backbone_state=weights)
    loaded = load_state(tmp_path / "pack", *build(1))
    assert set(loaded) == set(weights)
    for name, value in weights.items():
        assert torch.equal(loaded[name].to(value.dtype), value)


def test_nothing_is_overwritten_without_being_asked(tmp_path):
    save_pack(tmp_path / "pack", *build(1), manifest())
    before = (tmp_path / "pack" / "pack.safetensors").read_bytes()
    with pytest.raises(PackError, match="exists already"):
        save_pack(tmp_path / "pack", *build(2), manifest())
    assert (tmp_path / "pack" / "pack.safetensors").read_bytes() == before
    save_pack(tmp_path / "pack", *build(2), manifest(), overwrite=True)
    assert (tmp_path / "pack" / "pack.safetensors").read_bytes() != before
    assert os.listdir(tmp_path) == ["pack"]


def test_a_folder_with_other_things_is_never_replaced(tmp_path):
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "letter.txt").write_text("dear")
    with pytest.raises(PackError, match="not just a task pack"):
        save_pack(tmp_path / "home", *build(), manifest(), overwrite=True)
    assert (tmp_path / "home" / "letter.txt").read_text() == "dear"


def test_a_full_disk_leaves_nothing_and_keeps_the_old_pack(tmp_path, monkeypatch):
    save_pack(tmp_path / "pack", *build(1), manifest())
    before = (tmp_path / "pack" / "pack.safetensors").read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pack, "save_file", full)
    with pytest.raises(PackError, match="No space left"):
        save_pack(tmp_path / "pack", *build(2), manifest(), overwrite=True)
    assert (tmp_path / "pack" / "pack.safetensors").read_bytes() == before
    assert os.listdir(tmp_path) == ["pack"]


def test_a_failed_swap_puts_the_old_pack_back(tmp_path, monkeypatch):
    save_pack(tmp_path / "pack", *build(1), manifest())
    before = (tmp_path / "pack" / "pack.safetensors").read_bytes()
    replace = os.replace

    def refuse_new(source: os.PathLike[str], target: os.PathLike[str]) -> None:
        if str(source).endswith(".partial"):
            raise OSError(13, "Permission denied")
        replace(source, target)

    monkeypatch.setattr(os, "replace", refuse_new)
    with pytest.raises(PackError, match="Permission denied"):
        save_pack(tmp_path / "pack", *build(2), manifest(), overwrite=True)
    assert (tmp_path / "pack" / "pack.safetensors").read_bytes() == before
    assert os.listdir(tmp_path) == ["pack"]


def test_diverged_values_are_not_saved(tmp_path):
    tuning, head = build()
    with torch.no_grad():
        tuning.prompts()[0, 0] = float("nan")
    round_to_pack(tuning, head)
    with pytest.raises(PackError, match=r"tuning\.soft\.prompts"):
        save_pack(tmp_path / "pack", tuning, head, manifest())
    assert os.listdir(tmp_path) == []


def test_another_backbone_is_refused_by_both_names(tmp_path):
    other = BackboneSpec("llama-7b", "cd" * 32, 4096, 32, 32_000, 7_000_000_000, "causal")
    with pytest.raises(PackError) as caught:
        check_pack(tmp_path, manifest(), other, hook_api=1)
    for part in ("tiny", "llama-7b", "--backbone tiny", "4 layers of 16"):
        assert part in str(caught.value)


def test_the_same_name_with_other_weights_is_refused(tmp_path):
    other = BackboneSpec("tiny", "cd" * 32, 16, 4, 40, 20_000, "causal")
    with pytest.raises(PackError, match="sha256 abab"):
        check_pack(tmp_path, manifest(), other, hook_api=1)


def test_another_hook_api_is_refused(tmp_path):
    with pytest.raises(PackError, match=r"hook API 1.*has 2.*m6rec-plugin-ctr"):
        check_pack(tmp_path, manifest(), SPEC, hook_api=2)


def damage(folder, field, value):
    content = json.loads((folder / "pack.json").read_text())
    target = content
    *parents, last = field
    for name in parents:
        target = target[name]
    target[last] = value
    (folder / "pack.json").write_text(json.dumps(content))


@pytest.mark.parametrize("field", [("colour",), ("plan", "colour"), ("backbone", "colour"), ("tuning", "colour")])
def test_unknown_fields_are_refused_by_name(tmp_path, field):
    save_pack(tmp_path / "pack", *build(), manifest())
    damage(tmp_path / "pack", field, "red")
    with pytest.raises(PackError, match=r"pack\.json.*" + r"\.".join(field)):
        read_manifest(tmp_path / "pack")


def test_another_format_is_refused(tmp_path):
    save_pack(tmp_path / "pack", *build(), manifest())
    damage(tmp_path / "pack", ("format",), 7)
    with pytest.raises(PackError, match="format is 7"):
        read_manifest(tmp_path / "pack")


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff\xfe"])
def test_a_broken_manifest_is_refused_in_one_line(tmp_path, content):
    save_pack(tmp_path / "pack", *build(), manifest())
    (tmp_path / "pack" / "pack.json").write_bytes(content)
    with pytest.raises(PackError, match=r"pack\.json") as caught:
        read_manifest(tmp_path / "pack")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["pack.json", "pack.safetensors"])
def test_a_missing_file_is_named(tmp_path, name):
    save_pack(tmp_path / "pack", *build(), manifest())
    (tmp_path / "pack" / name).unlink()
    with pytest.raises(PackError, match=name):
        load_state(tmp_path / "pack", *build())


@pytest.mark.parametrize("keep", [0, 5, 200, -1])
def test_a_truncated_tensor_file_is_refused_and_nothing_changes(tmp_path, keep):
    save_pack(tmp_path / "pack", *build(1), manifest())
    file = tmp_path / "pack" / "pack.safetensors"
    file.write_bytes(file.read_bytes()[:keep])
    modules = build(2)
    before = state(*modules)
    with pytest.raises(PackError, match="damaged"):
        load_state(tmp_path / "pack", *modules)
    assert same(before, state(*modules))


def test_a_file_that_is_no_safetensors_is_refused(tmp_path):
    save_pack(tmp_path / "pack", *build(), manifest())
    file = tmp_path / "pack" / "pack.safetensors"
    file.write_bytes(b"not tensors")
    damage(tmp_path / "pack", ("tensors_sha256",), sha256_of(file))
    with pytest.raises(PackError, match="cannot be read"):
        load_state(tmp_path / "pack", *build())


def test_a_head_of_another_shape_is_refused_and_nothing_changes(tmp_path):
    save_pack(tmp_path / "pack", *build(1), manifest())
    tuning, _ = build(2)
    before = state(tuning)
    with pytest.raises(PackError, match=r"head\.mean is \(3,\) in the pack and \(4,\)"):
        load_state(tmp_path / "pack", tuning, NumericCalibration(4))
    assert same(before, state(tuning))
