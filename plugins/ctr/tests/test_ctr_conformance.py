"""The conformance kit over the configurations of the plugin."""

from __future__ import annotations

import pytest
from m6rec_plugin_ctr.settings import CtrConfig

from m6rec_core.config import TuningConfig
from m6rec_core.testing import TaskConformance, tiny_backbone
from m6rec_core.text.domains import MOVIES, PRODUCTS


class TestDefault(TaskConformance):
    """In-context lines, words of the item, calibration."""


class TestPaperForm(TaskConformance):
    """The paper's sentences with markers, over a backbone with a bidirectional source region."""

    @pytest.fixture
    def config(self):
        return CtrConfig(domain=MOVIES, form="paper", user_words=True, calibration=False)

    @pytest.fixture
    def second_config(self):
        return CtrConfig(domain=MOVIES, form="paper", item_words=False)

    @pytest.fixture
    def backbone(self):
        return tiny_backbone("qwen3", attention="prefix")


class TestConversionRate(TaskConformance):
    """Another domain and another form of head: a linear classifier instead of soft options."""

    @pytest.fixture
    def config(self):
        return CtrConfig(domain=PRODUCTS, calibration=False, user_words=True)

    @pytest.fixture
    def second_config(self):
        return CtrConfig(domain=PRODUCTS)

    @pytest.fixture
    def tuning(self):
        return TuningConfig(mode="adapter", budget=0.9)
