"""The conformance kit over both forms of the text, one and several designs, with and without a given category."""

from __future__ import annotations

import pytest
from m6rec_plugin_product_design.settings import DesignConfig

from m6rec_core.config import DecodingConfig
from m6rec_core.testing import TaskConformance, tiny_backbone
from m6rec_core.testing.building import as_task
from m6rec_core.testing.case import Case
from m6rec_core.text.domains import PRODUCTS

SHORT = DecodingConfig(max_new_tokens=4, stop=("\n",))


class _Slow(TaskConformance):
    """A language model's loss comes down more slowly than a classifier's, so clause 7 gets more steps."""

    @pytest.fixture
    def case(self, task, config, second_config, samples, tuning, backbone):
        return Case(as_task(task), config, tuple(samples), backbone, second_config, tuning, steps=140)


class TestLines(_Slow):
    """Lines without markers; the other instance is told the category."""

    @pytest.fixture
    def config(self):
        return DesignConfig(domain=PRODUCTS, decoding=SHORT)

    @pytest.fixture
    def second_config(self):
        return DesignConfig(domain=PRODUCTS, decoding=SHORT, category_given=True)


class TestPaperForm(_Slow):
    """The sentence of section 3.2 with markers."""

    @pytest.fixture
    def config(self):
        return DesignConfig(domain=PRODUCTS, form="paper", decoding=SHORT)

    @pytest.fixture
    def backbone(self):
        return tiny_backbone("qwen3", attention="prefix")
