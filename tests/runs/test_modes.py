"""The table of `m6rec bench modes`: what it says of curves that are known."""

from __future__ import annotations

from dataclasses import replace

import pytest

from m6rec_core.runs.modes import ALL_MODES, ModeCurve, draw, mode_table
from m6rec_core.tuning.modes import MODES

FAST = ModeCurve(
    "option",
    0,
    3e-4,
    1_234,
    0.0012,
    61.4,
    ((0, 0.5), (10, 0.695), (20, 0.7)),
    ((1, 0.7), (2, 0.6), (3, 0.5)),
    (0.66, 0.74),
)
SLOW = ModeCurve(
    "prompt", 0, 1e-3, 1_000, 0.001, 59.6, ((0, 0.52), (10, 0.6), (20, 0.58)), ((1, 0.7), (2, 0.7), (3, 0.7))
)


def test_all_modes_are_compared():
    assert set(ALL_MODES) == set(MODES)
    assert len(ALL_MODES) == 5


def test_a_curve_knows_its_best_and_when_it_came_to_a_value():
    assert SLOW.best == (10, 0.6)
    assert FAST.best == (20, 0.7)
    assert [FAST.first_above(value) for value in (0.4, 0.5, 0.6, 0.695, 0.7, 0.71)] == [0, 0, 10, 10, 20, None]


def test_the_cells():
    titles, rows = mode_table([FAST, SLOW], "auc")
    # 95 % of the way from .5, the lowest start, to .7, the best of all.
    assert titles[:4] == ["mode", "parameters", "share", "lr"]
    assert titles[4:] == ["valid auc at start", "at end", "best", "95 % of the rows", "steps to 0.690", "s"]
    assert rows[0] == ["option", "1,234", "0.12%", "0.0003", "0.500", "0.700", "0.700", "[0.660, 0.740]", "10", "61"]
    assert rows[1] == ["prompt", "1,000", "0.10%", "0.001", "0.520", "0.580", "0.600", "n/a", "not reached", "60"]


def test_several_seeds_show_mean_range_and_each_ones_steps():
    other = replace(FAST, seed=1, valid=((0, 0.5), (10, 0.6), (20, 0.68)), seconds=58.6)
    titles, rows = mode_table([FAST, other, SLOW], "auc")
    assert titles[-2] == "steps to 0.680"  # 95 % of the way from .5 to the mean of the best, .69: .6805
    assert rows[0][4:7] == ["0.500 (0.500 to 0.500)", "0.690 (0.680 to 0.700)", "0.690 (0.680 to 0.700)"]
    assert rows[0][-2:] == ["10, not reached", "60"]
    assert [row[0] for row in rows] == ["option", "prompt"]


def test_a_mode_that_starts_at_the_goal_took_no_steps():
    flat = ModeCurve("adapter", 0, 1e-3, 1, 0.0, 1.0, ((0, 0.5), (5, 0.5)), ((1, 0.7),))
    assert [row[8] for row in mode_table([flat], "auc")[1]] == ["0"]


@pytest.mark.parametrize("curves", [[FAST], [FAST, SLOW], [FAST, replace(FAST, seed=1), SLOW]])
def test_a_picture_of_few_or_many_modes(curves, tmp_path):
    draw(curves, "auc", tmp_path / "modes.png")
    assert (tmp_path / "modes.png").read_bytes().startswith(b"\x89PNG")
    assert [path.name for path in tmp_path.iterdir()] == ["modes.png"]
