import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from m6rec_core.config import TuningConfig
from m6rec_core.errors import ConfigError
from m6rec_core.tuning.budget import TuningPlan, plan
from m6rec_core.tuning.modes import MODES
from m6rec_core.types import BackboneSpec

SMOLLM2 = BackboneSpec("smollm2-135m", "0" * 64, 576, 30, 49_152, 134_515_008, "causal")


def test_the_default_run():
    chosen = plan(TuningConfig(), SMOLLM2, heads=9, options=2, head_parameters=0)
    assert (chosen.rank, chosen.first_adapter_layer, chosen.prompts, chosen.options) == (64, 13, 16, 2)
    assert chosen.parameters == 17 * 74_369 + 16 * 576 + 5 * 576
    assert chosen.share == chosen.parameters / SMOLLM2.parameters <= 0.01


CONFIGS = st.builds(
    TuningConfig,
    mode=st.sampled_from(["adapter", "prompt", "option", "option-adapter"]),
    budget=st.floats(0.0005, 0.2),
    prompts=st.one_of(st.none(), st.integers(0, 20)),
    adapter_layers=st.one_of(st.none(), st.integers(0, 30)),
    max_prompts=st.integers(1, 40),
    train_markers=st.booleans(),
)


@settings(deadline=None)
@given(CONFIGS, st.integers(0, 12), st.integers(0, 4000))
def test_every_plan_keeps_the_budget_or_is_refused_in_one_line(config, options, head):
    try:
        chosen = plan(config, SMOLLM2, 9, options, head)
    except ConfigError as caught:
        message = str(caught)
    else:
        check(chosen, config, options, head)
        return
    assert "\n" not in message
    assert "tuning." in message


def check(chosen: TuningPlan, config: TuningConfig, options: int, head: int) -> None:
    mode = MODES[config.mode]
    assert chosen.parameters <= config.budget * SMOLLM2.parameters + 1e-6
    adapters = SMOLLM2.layers - chosen.first_adapter_layer
    spent = (
        adapters * (2 * 576 * 64 + 64 + 576 + 1)
        + chosen.prompts * 576
        + head
        + (5 * 576 if config.train_markers else 0)
    )
    assert chosen.parameters == spent
    assert chosen.options == (options if mode.options else 0) <= chosen.prompts
    if mode.prompts and config.prompts is None:
        assert chosen.prompts <= config.max_prompts
    if mode.adapters and config.adapter_layers is not None:
        assert adapters == config.adapter_layers


def test_no_adapter_more_would_fit():
    config = TuningConfig(prompts=6)
    chosen = plan(config, SMOLLM2, 9, 2, 0)
    more = SMOLLM2.layers - chosen.first_adapter_layer + 1
    with pytest.raises(ConfigError, match=f"adapter_layers to at most {more - 1}"):
        plan(config.model_copy(update={"adapter_layers": more}), SMOLLM2, 9, 2, 0)


def test_too_much_names_the_numbers_and_the_cures():
    with pytest.raises(ConfigError) as caught:
        plan(TuningConfig(adapter_layers=17, prompts=500), SMOLLM2, 9, 2, 0)
    message = str(caught.value)
    for part in ("1,555,153", "1,345,150", "at most 14", "at most 135", "tuning.budget to at least 0.0116"):
        assert part in message


@pytest.mark.parametrize(
    ("config", "cure"),
    [
        (TuningConfig(adapter_layers=30), r"tuning\.budget to at least"),
        (TuningConfig(budget=0.0001), r"tuning\.budget to at least"),
        (TuningConfig(mode="option", budget=0.00002), r"tuning\.budget to at least"),
    ],
)
def test_the_budget_named_as_cure_is_enough(config, cure):
    with pytest.raises(ConfigError, match=cure) as caught:
        plan(config, SMOLLM2, 9, 2, 0)
    enough = float(str(caught.value).split("tuning.budget to at least ")[1].split(",")[0])
    assert plan(config.model_copy(update={"budget": enough}), SMOLLM2, 9, 2, 0).share <= enough


def test_fewer_prompts_than_options_are_refused():
    with pytest.raises(ConfigError, match="at least 3"):
        plan(TuningConfig(prompts=2), SMOLLM2, 9, 3, 0)
    with pytest.raises(ConfigError, match="max_prompts to at least 3"):
        plan(TuningConfig(max_prompts=2), SMOLLM2, 9, 3, 0)
    assert plan(TuningConfig(mode="prompt", prompts=2), SMOLLM2, 9, 3, 0).prompts == 2


def test_more_adapters_than_layers_are_refused():
    with pytest.raises(ConfigError, match="30 layers"):
        plan(TuningConfig(adapter_layers=31, budget=0.5), SMOLLM2, 9, 2, 0)


def test_fine_tuning_trains_everything_without_a_budget():
    chosen = plan(TuningConfig(mode="fine-tuning"), SMOLLM2, 9, 2, 1154)
    assert (chosen.prompts, chosen.options, chosen.rank, chosen.first_adapter_layer) == (0, 0, 0, 30)
    assert chosen.parameters == SMOLLM2.parameters + 1154 + 5 * 576


def test_a_mode_adds_to_the_one_before():
    assert MODES["option"].options
    assert not MODES["prompt"].options
    assert MODES["option-adapter"].adapters
    assert not MODES["option"].adapters
    for name, mode in MODES.items():
        assert mode.options != mode.linear_head, name
        assert mode.prompts or not mode.options, name
        assert mode.backbone == (name == "fine-tuning")


def test_a_mode_never_shares_its_table():
    with pytest.raises(TypeError):
        MODES["prompt"] = MODES["option"]  # type: ignore[index]


def test_adapters_on_the_attention_are_counted():
    places = {asked: plan(TuningConfig(adapter_places=asked, adapter_layers=3, budget=0.5), SMOLLM2, 9, 2, 0)
              for asked in (("ffn",), ("attention",), ("ffn", "attention"))}  # fmt: skip
    one, two = places["ffn",].parameters, places["ffn", "attention"].parameters
    assert places["attention",].parameters == one
    assert two - one == 3 * 74_369
