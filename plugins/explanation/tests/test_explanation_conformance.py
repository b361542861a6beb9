"""The conformance kit over both forms of the text."""

from __future__ import annotations

import pytest
from m6rec_plugin_explanation.settings import ExplanationConfig

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
        return Case(as_task(task), config, tuple(samples), backbone, second_config, tuning, steps=160)


class TestLines(_Slow):
    """Lines without markers, greedy."""

    @pytest.fixture
    def config(self):
        return ExplanationConfig(domain=PRODUCTS, decoding=SHORT)


class TestPaperForm(_Slow):
    """The sentences of section 3.2 with markers."""

    @pytest.fixture
    def config(self):
        return ExplanationConfig(domain=PRODUCTS, form="paper", decoding=SHORT)

    @pytest.fixture
    def second_config(self):
        return ExplanationConfig(domain=PRODUCTS, form="paper", events=1, decoding=SHORT)

    @pytest.fixture
    def backbone(self):
        return tiny_backbone("qwen3", attention="prefix")
