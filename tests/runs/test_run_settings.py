"""Layers of settings become one configuration; what is unknown or impossible is an error with the near name."""

from __future__ import annotations

import pytest
import yaml

from m6rec_core.config import DecodingConfig, HistoryRule, RunConfig, SamplingConfig, TaskConfig, merge
from m6rec_core.errors import ConfigError
from m6rec_core.runs.settings import parse_assignments, read_config, resolve, to_yaml
from m6rec_core.text.domains import MOVIES, PRODUCTS
from m6rec_core.types import Prediction, Sample, TaskManifest


class Settings(TaskConfig):
    form: str = "short"


MANIFEST = TaskManifest(
    task="toy", summary="a toy", hook_api=(1, 1), sample=Sample, prediction=Prediction, config=Settings,
    quick={"shots": 100, "evaluation.rows": 50},
)  # fmt: skip
NAMES = {"task": "toy", "data": "logs"}


def test_later_layers_win_and_quick_settings_come_first():
    layers = [NAMES, {"training": {"lr": 0.1, "epochs": 2}}, {"training": {"lr": 0.2}}, {"settings": {"form": "long"}}]
    config = resolve(MANIFEST, layers, MOVIES)
    assert (config.training.lr, config.training.epochs) == (0.2, 2)
    assert (config.shots, config.evaluation.rows) == (100, 50)
    assert isinstance(config.settings, Settings)
    assert (config.settings.form, config.settings.domain) == ("long", MOVIES)


class Writing(TaskConfig):
    decoding: DecodingConfig = DecodingConfig(max_new_tokens=48, stop=("\n",))
    sampling: SamplingConfig = SamplingConfig(history=HistoryRule(events=10))


def test_a_part_that_is_set_leaves_what_the_task_chose_beside_it():
    found = Writing.model_validate({"decoding": {"min_new_tokens": 9}, "sampling": {"history": {"stride": 3}}})
    assert found.decoding == DecodingConfig(max_new_tokens=48, min_new_tokens=9, stop=("\n",))
    assert found.sampling.history == HistoryRule(events=10, stride=3)
    assert Writing.model_validate({"decoding": {"stop": []}}).decoding.stop == ()
    whole = DecodingConfig(max_new_tokens=5)
    assert Writing(decoding=whole).decoding == whole
    assert Writing.model_validate(found.model_dump(mode="json")) == found


def test_all_shots_and_a_named_domain():
    config = resolve(MANIFEST, [NAMES, {"shots": "all", "settings": {"domain": "products"}}], MOVIES)
    assert config.shots is None
    assert config.settings.domain == PRODUCTS


def test_values_of_assignments_are_typed():
    given = parse_assignments(["a.b=1e-3", "a.c=true", "d=[1, x]", "e=", "f=text", "g=null", "a.h=5"])
    assert given == {"a": {"b": 1e-3, "c": True, "h": 5}, "d": [1, "x"], "e": "", "f": "text", "g": None}


def test_an_assignment_below_a_value_is_refused():
    with pytest.raises(ConfigError, match="already has a value and cannot have parts"):
        parse_assignments(["a=1", "a.b=2"])


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ({"shotz": 1}, "unknown setting 'shotz'; did you mean 'shots'"),
        ({"training": {"learning": 1}}, "unknown setting 'training.learning' (there are: "),
        ({"settings": {"frm": 1}}, "unknown setting 'settings.frm'; did you mean 'form'"),
        ({"settings": {"sampling": {"history": {"event": 1}}}}, "did you mean 'events'"),
        ({"training": {"lr": -1}}, "setting 'training.lr' is -1: Input should be greater than 0"),
        ({"settings": [1]}, "setting 'settings' is [1]"),
    ],
)
def test_what_is_wrong_is_named(layer, message):
    with pytest.raises(ConfigError) as caught:
        resolve(MANIFEST, [NAMES, layer], MOVIES)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_written_configuration_reads_as_the_same(tmp_path):
    config = resolve(MANIFEST, [NAMES, {"training": {"lr": 0.25}, "settings": {"form": "long"}}], MOVIES)
    (tmp_path / "config.yaml").write_text(to_yaml(config))
    again = resolve(MANIFEST, [read_config(tmp_path / "config.yaml")], PRODUCTS)
    assert again == config
    assert set(yaml.safe_load(to_yaml(config))) == set(RunConfig.model_fields)


def test_merging_changes_neither_tree():
    low, high = {"a": {"x": 1, "y": 2}, "b": 1}, {"a": {"y": 3}, "b": {"z": 1}}
    assert merge(low, high) == {"a": {"x": 1, "y": 3}, "b": {"z": 1}}
    assert low == {"a": {"x": 1, "y": 2}, "b": 1}


def test_an_empty_file_is_no_setting(tmp_path):
    (tmp_path / "empty.yaml").write_text("")
    assert read_config(tmp_path / "empty.yaml") == {}
