"""A task whose predictions are written texts passes the conformance kit."""

from __future__ import annotations

import pytest

from m6rec_core.config import TaskConfig
from m6rec_core.testing import TaskConformance


class TestWriting(TaskConformance):
    @pytest.fixture
    def task(self, tuned):
        return tuned.writing_task()

    @pytest.fixture
    def samples(self, tuned):
        return [tuned.Prompted(id=str(i), text=word) for i, word in enumerate(tuned.WORDS[:4])]

    @pytest.fixture
    def config(self, tuned):
        return TaskConfig(instruction="Write what they like.")


def test_the_kit_is_asked(tuned):
    assert tuned.writing_task().manifest.task == "writing"
