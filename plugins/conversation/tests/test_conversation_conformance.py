"""The conformance kit over both forms of the text, and over samples that ask for a ranking."""

from __future__ import annotations

import pytest
from m6rec_plugin_conversation.settings import ConversationConfig

from m6rec_core.config import DecodingConfig
from m6rec_core.testing import TaskConformance, tiny_backbone
from m6rec_core.testing.building import as_task
from m6rec_core.testing.case import Case
from m6rec_core.text.domains import MOVIES

SHORT = DecodingConfig(max_new_tokens=4, stop=("\n",))


class _Slow(TaskConformance):
    """A language model's loss comes down more slowly than a classifier's, so clause 7 gets more steps."""

    @pytest.fixture
    def case(self, task, config, second_config, samples, tuning, backbone):
        return Case(as_task(task), config, tuple(samples), backbone, second_config, tuning, steps=100)


class TestLines(_Slow):
    """Lines without markers."""

    @pytest.fixture
    def config(self):
        return ConversationConfig(domain=MOVIES, decoding=SHORT)


class TestPaperForm(_Slow):
    """The same text between markers, films not trained."""

    @pytest.fixture
    def config(self):
        return ConversationConfig(domain=MOVIES, form="paper", decoding=SHORT, title_weight=0.0)

    @pytest.fixture
    def second_config(self):
        return ConversationConfig(domain=MOVIES, form="paper", decoding=SHORT, newest_turns=1)

    @pytest.fixture
    def backbone(self):
        return tiny_backbone("qwen3", attention="prefix")
