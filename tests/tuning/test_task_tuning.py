import pytest
import torch

from m6rec_core.config import TuningConfig
from m6rec_core.errors import ConfigError
from m6rec_core.tuning.budget import plan
from m6rec_core.tuning.modes import MODES
from m6rec_core.tuning.task import TaskTuning, build_tuning
from m6rec_core.types import BackboneSpec

SPEC = BackboneSpec("tiny", "ab" * 32, 16, 4, 40, 20_000, "causal")
TABLE = torch.randn(40, 16, generator=torch.Generator().manual_seed(1)) * 0.1


def build(mode: str, seed: int = 0, **settings: object) -> TaskTuning:
    config = TuningConfig.model_validate({"mode": mode, "budget": 0.5, **settings})
    return build_tuning(config, plan(config, SPEC, 4, 2, 0), SPEC, TABLE, [7, 8, 9], [[3], [4, 5]], seed)


@pytest.mark.parametrize("mode", list(MODES))
def test_a_mode_has_its_parts_and_no_others(mode):
    tuning = build(mode)
    spec = MODES[mode]
    options = tuning.options()
    assert (tuning.prompt_count > 0) == spec.prompts
    assert tuning.prompts().shape == (tuning.prompt_count, 16)
    assert (options is not None) == spec.options
    assert (tuning.ffn(3, torch.randn(2, 16)) is not None) == spec.adapters
    assert tuning.markers().shape == (5, 16)
    assert all(p.dtype == torch.float32 for p in tuning.parameters())


@pytest.mark.parametrize("mode", [m for m in MODES if m != "fine-tuning"])
@pytest.mark.parametrize("train_markers", [True, False])
def test_the_plan_counts_what_is_built(mode, train_markers):
    config = TuningConfig(mode=mode, budget=0.5, train_markers=train_markers)
    chosen = plan(config, SPEC, 4, 2, 0)
    tuning = build_tuning(config, chosen, SPEC, TABLE, [7], [[3], [4]], 0)
    assert tuning.trainable_parameters() == chosen.parameters
    assert sum(p.numel() for p in tuning.embedding_parameters()) == (tuning.prompt_count + 5 * train_markers) * 16


def test_informed_start_is_instruction_then_options():
    tuning = build("option-adapter", prompts=6)
    torch.testing.assert_close(tuning.prompts()[:4], TABLE[[7, 8, 9, 7]])
    torch.testing.assert_close(tuning.prompts()[4], TABLE[3])
    torch.testing.assert_close(tuning.prompts()[5], TABLE[[4, 5]].mean(0))
    options = tuning.options()
    assert options is not None
    assert torch.equal(options, tuning.prompts()[4:])


def test_seed_decides_everything_random():
    for init in ("informed", "random"):
        first, again, other = (build("option-adapter", seed, init=init) for seed in (3, 3, 4))
        assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))
        assert any(not torch.equal(a, b) for a, b in zip(first.parameters(), other.parameters(), strict=True))
        assert torch.equal(first.markers(), other.markers())


def test_building_leaves_the_global_generator_and_the_table_alone():
    torch.manual_seed(9)
    expected = torch.randn(3)
    torch.manual_seed(9)
    before = TABLE.clone()
    tuning = build("option-adapter")
    assert torch.equal(torch.randn(3), expected)
    with torch.no_grad():
        for parameter in tuning.parameters():
            parameter.add_(1.0)
    assert torch.equal(before, TABLE)


def test_options_must_be_as_many_as_planned():
    config = TuningConfig(budget=0.5)
    with pytest.raises(ConfigError, match="3 answers"):
        build_tuning(config, plan(config, SPEC, 4, 2, 0), SPEC, TABLE, [7], [[1], [2], [3]], 0)


def test_a_bf16_table_gives_float32_parameters():
    config = TuningConfig(budget=0.5)
    tuning = build_tuning(config, plan(config, SPEC, 4, 2, 0), SPEC, TABLE.bfloat16(), [7], [[1], [2]], 0)
    assert {p.dtype for p in tuning.parameters()} == {torch.float32}
    assert torch.equal(tuning.prompts()[0], TABLE.bfloat16()[7].float())


def test_state_round_trip():
    source, target = build("option-adapter", 1), build("option-adapter", 2)
    target.load_state_dict(source.state_dict())
    z = torch.randn(3, 16)
    first, second = source.ffn(3, z), target.ffn(3, z)
    assert first is not None
    assert second is not None
    assert torch.equal(first, second)
    assert torch.equal(source.prompts(), target.prompts())
