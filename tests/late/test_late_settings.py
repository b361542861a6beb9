"""Settings of late interaction that make no sense, and where adapters go by default."""

from __future__ import annotations

import late_rows as kit
import pytest

from m6rec_core.errors import ConfigError
from m6rec_core.tuning.budget import plan

SPEC = kit.late_model().backbone.spec


@pytest.mark.parametrize(
    ("values", "message"),
    [({"late_layers": 9}, "has 3 layers"), ({"adapter_layers": "late", "late_layers": 0}, "late_layers is 0")],
)
def test_settings_that_make_no_sense_are_refused(values, message):
    with pytest.raises(ConfigError, match=message):
        plan(kit.late_tuning(**values), SPEC, 4, 2, 0)


def test_adapters_follow_the_late_layers():
    first = {asked: plan(kit.late_tuning(adapter_layers=asked), SPEC, 4, 2, 0).first_adapter_layer
             for asked in ("all", "late", 2, None)}  # fmt: skip
    assert first == {"all": 0, "late": 2, 2: 1, None: 2}
