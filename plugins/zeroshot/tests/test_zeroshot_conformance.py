"""The conformance kit over the configurations of the plugin."""

from __future__ import annotations

import pytest
from m6rec_plugin_zeroshot.settings import ZeroshotConfig

from m6rec_core.config import TuningConfig
from m6rec_core.testing import TaskConformance, tiny_backbone
from m6rec_core.testing.building import as_task
from m6rec_core.testing.case import Case
from m6rec_core.text.domains import MOVIES, PRODUCTS

ADAPTER = TuningConfig(mode="adapter", budget=0.9)


class _Slow(TaskConformance):
    """A language model's loss comes down more slowly than a classifier's, so clause 7 gets more steps."""

    @pytest.fixture
    def case(self, task, config, second_config, samples, tuning, backbone):
        return Case(as_task(task), config, tuple(samples), backbone, second_config, tuning, steps=100)


class TestDefault(_Slow):
    """Marker-free, adapters only, the second instance with another normalisation."""

    @pytest.fixture
    def second_config(self):
        return ZeroshotConfig(domain=PRODUCTS, normalise="prior", prompts="like-colon")

    @pytest.fixture
    def tuning(self):
        return ADAPTER


class TestPrompts(_Slow):
    """Several forms averaged as probabilities, with soft prompts."""

    @pytest.fixture
    def config(self):
        return ZeroshotConfig(domain=MOVIES, prompts=("list", "if-you-liked"), average="probabilities")


class TestPaperForm(_Slow):
    """The paper's form with markers, over a backbone with a bidirectional source region."""

    @pytest.fixture
    def config(self):
        return ZeroshotConfig(domain=MOVIES, prompts="clicks", markers=True, normalise="prior")

    @pytest.fixture
    def backbone(self):
        return tiny_backbone("qwen3", attention="prefix")

    @pytest.fixture
    def tuning(self):
        return ADAPTER
