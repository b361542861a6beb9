"""The conformance kit: two fixtures and an empty subclass check every promise the core relies on.

    from m6rec_core.testing import TaskConformance
    from my_package import plugin

    @pytest.fixture
    def task():
        return plugin  # the plugin module, or a Task of the registry

    @pytest.fixture
    def samples():
        return [...]  # at least three, each with an id of its own; with different labels where the task has labels

    class TestMyTask(TaskConformance):
        pass

Each clause is one test; a failure names the clause, the sample and the cure.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType

import pytest

from m6rec_core.backbone.hf import Backbone
from m6rec_core.config import TaskConfig, TuningConfig
from m6rec_core.registry import Task
from m6rec_core.testing import clauses
from m6rec_core.testing.building import KIT_TUNING, as_task
from m6rec_core.testing.case import Case
from m6rec_core.testing.tiny import tiny_backbone
from m6rec_core.text.domains import load_domain
from m6rec_core.types import Sample


class TaskConformance:
    """Twelve clauses. Give the fixtures `task` and `samples`; override any other that does not suit the task.

    The backbone is tiny, random and float64. Heads are converted to float64 with `Module.double()`, so a head should
    compute in the dtype of `view.hidden`.
    """

    @pytest.fixture
    def config(self, task: Task | ModuleType) -> TaskConfig:
        """The task's settings: its defaults in the movies domain."""
        return as_task(task).manifest.config(domain=load_domain("movies"))

    @pytest.fixture
    def second_config(self, config: TaskConfig) -> TaskConfig:
        """The settings of the other instance in mixed batches: the same, by default."""
        return config

    @pytest.fixture
    def tuning(self) -> TuningConfig:
        """Which parts are tuned: option-adapter tuning of every layer, by default."""
        return KIT_TUNING

    @pytest.fixture
    def backbone(self) -> Backbone:
        """A tiny causal decoder; a task for prefix backbones returns `tiny_backbone(attention="prefix")`."""
        return tiny_backbone()

    @pytest.fixture
    def case(
        self,
        task: Task | ModuleType,
        config: TaskConfig,
        second_config: TaskConfig,
        samples: Sequence[Sample],
        tuning: TuningConfig,
        backbone: Backbone,
    ) -> Case:
        """Everything a clause needs; override it to change steps, rates or tolerances."""
        return Case(as_task(task), config, tuple(samples), backbone, second_config, tuning)

    def test_01_json_round_trip(self, case: Case) -> None:
        """Samples and settings survive JSON unchanged."""
        clauses.json_round_trip(case)

    def test_02_label_hidden(self, case: Case) -> None:
        """The label never reaches the text."""
        clauses.label_hidden(case)

    def test_03_deterministic(self, case: Case) -> None:
        """The same input gives the same output."""
        clauses.deterministic(case)

    def test_04_row_independence(self, case: Case) -> None:
        """A row's loss and prediction do not depend on its neighbours."""
        clauses.row_independence(case)

    def test_05_padding_and_order(self, case: Case) -> None:
        """Padding, packing and order change nothing."""
        clauses.padding_and_order(case)

    def test_06_bf16_error(self, case: Case) -> None:
        """The error over a bf16 backbone is the backbone's own."""
        clauses.bf16_error(case)

    def test_07_overfits(self, case: Case) -> None:
        """A few steps on three samples bring the loss down."""
        clauses.overfits(case)

    def test_08_predictions_in_order(self, case: Case) -> None:
        """Predictions come in row order with the samples' ids."""
        clauses.predictions_in_order(case)

    def test_09_state_round_trip(self, case: Case) -> None:
        """Saving and loading the state keeps the predictions."""
        clauses.state_round_trip(case)

    def test_10_alone_equals_mixed(self, case: Case) -> None:
        """Rows of another instance in the batch change nothing."""
        clauses.alone_equals_mixed(case)

    def test_11_gradients_reach(self, case: Case) -> None:
        """Gradients reach every tuned parameter and never the backbone."""
        clauses.gradients_reach(case)

    def test_12_no_markers_in_text(self, case: Case) -> None:
        """Text never holds a marker."""
        clauses.no_markers_in_text(case)
