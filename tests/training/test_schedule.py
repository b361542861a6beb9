from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from m6rec_core.training.schedule import lr_factor


def test_warmup_rises_to_one_and_falls_along_the_schedule() -> None:
    cosine = [lr_factor(step, 10, 0.2, "cosine") for step in range(10)]
    assert cosine[:3] == [0.5, 1.0, 1.0]
    assert cosine[6] == pytest.approx(0.5)
    linear = [lr_factor(step, 10, 0.2, "linear") for step in range(10)]
    assert linear[2:] == pytest.approx([1 - k / 8 for k in range(8)])
    assert [lr_factor(step, 10, 0.0, "constant") for step in range(10)] == [1.0] * 10


@given(total=st.integers(1, 300), warmup=st.floats(0, 0.99), kind=st.sampled_from(["cosine", "linear", "constant"]))
def test_every_step_has_a_positive_rate_of_at_most_one(total: int, warmup: float, kind: str) -> None:
    factors = [lr_factor(step, total, warmup, kind) for step in range(total)]  # type: ignore[arg-type]
    assert all(0.0 < factor <= 1.0 for factor in factors)
    assert max(factors) == 1.0


def test_outside_of_the_run_is_refused() -> None:
    with pytest.raises(ValueError, match="step 10"):
        lr_factor(10, 10, 0.1, "cosine")
