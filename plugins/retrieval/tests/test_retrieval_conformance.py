"""The conformance kit over the configurations of the plugin."""

from __future__ import annotations

import pytest
from m6rec_plugin_retrieval.settings import RetrievalConfig

from m6rec_core.config import TuningConfig
from m6rec_core.testing import TaskConformance, tiny_backbone
from m6rec_core.testing.building import as_task
from m6rec_core.testing.case import Case
from m6rec_core.text.domains import MOVIES
from m6rec_core.types import Pooling


class TestEvents(TaskConformance):
    """A row for each event of the user; an encoder that is small beside the tiny backbone.

    The means of short texts' random states lie close together, so clause 7 gets more steps.
    """

    @pytest.fixture
    def config(self):
        return RetrievalConfig(domain=MOVIES, width=16, known_texts=0)  # a memory has no gradient before a fit

    @pytest.fixture
    def case(self, task, config, second_config, samples, tuning, backbone):
        return Case(as_task(task), config, tuple(samples), backbone, second_config, tuning, steps=400)


class TestText(TaskConformance):
    """Lines of titles in one text, read at its last token."""

    @pytest.fixture
    def config(self):
        return RetrievalConfig(domain=MOVIES, user="text", pooling=Pooling.LAST)


class TestPaperForm(TaskConformance):
    """Read at [EOS'] and [EOS], no correction of popular items, over a bidirectional source region."""

    @pytest.fixture
    def config(self):
        return RetrievalConfig(
            domain=MOVIES, user="text", pooling=Pooling.LAST, markers=True, popularity_correction=False,
            mask_history=False,
        )  # fmt: skip

    @pytest.fixture
    def second_config(self):
        return RetrievalConfig(domain=MOVIES, user="text", markers=True, user_phrase=True)

    @pytest.fixture
    def backbone(self):
        return tiny_backbone("qwen3", attention="prefix")


class TestHardNegatives(TaskConformance):
    """Events, and more than one item to a sample, in a mode without soft prompts."""

    @pytest.fixture
    def config(self):
        return RetrievalConfig(domain=MOVIES, width=16, known_texts=0)  # a memory has no gradient before a fit

    @pytest.fixture
    def samples(self, samples):
        return [one.model_copy(update={"negatives": (samples[n - 1].candidate,)}) for n, one in enumerate(samples)]

    @pytest.fixture
    def tuning(self):
        return TuningConfig(mode="adapter", budget=0.9)
