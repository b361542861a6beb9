import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from m6rec_core.errors import DataError
from m6rec_core.heads.calibration import STATISTIC_FEATURES, NumericCalibration, logit_features

SAMPLE = {"item_rate": 0.75, "user_rate": 0.5, "recent_rate": 0.1, "item_count": 9.0, "user_count": 0.0}


def test_it_starts_by_adding_exactly_nothing():
    calibration = NumericCalibration(5)
    margin = torch.randn(20)
    calibration.fit_scale(torch.randn(30, 5) * 10)
    assert torch.equal(calibration(margin, torch.randn(20, 5)), margin)


def test_against_brute_force():
    calibration = NumericCalibration(3)
    train, features, margin = torch.randn(50, 3) * 4 + 2, torch.randn(7, 3), torch.randn(7)
    calibration.fit_scale(train)
    with torch.no_grad():
        calibration.weight.copy_(torch.tensor([0.5, -1.0, 2.0]))
        calibration.bias.fill_(0.25)
    for n, got in enumerate(calibration(margin, features)):
        expected = float(margin[n]) + 0.25
        for f in range(3):
            column = train[:, f].tolist()
            mean = sum(column) / 50
            std = math.sqrt(sum((x - mean) ** 2 for x in column) / 50)
            expected += calibration.weight[f].item() * (float(features[n, f]) - mean) / std
        assert float(got) == pytest.approx(expected, abs=1e-5)


def test_constant_columns_do_not_explode():
    calibration = NumericCalibration(2)
    calibration.fit_scale(torch.tensor([[0.1, 1.0], [0.1, 2.0], [0.1, 3.0]]))
    assert float(calibration.std[0]) == 1.0
    assert float(calibration.std[1]) == pytest.approx(math.sqrt(2 / 3))


def test_one_row_is_enough():
    calibration = NumericCalibration(2)
    calibration.fit_scale(torch.tensor([[3.0, 4.0]]))
    assert calibration.mean.tolist() == [3.0, 4.0]
    assert calibration.std.tolist() == [1.0, 1.0]


@pytest.mark.parametrize("bad", [torch.zeros(0, 2), torch.zeros(3, 1), torch.zeros(2)])
def test_wrong_shapes_are_refused(bad):
    with pytest.raises(ValueError, match="must be"):
        NumericCalibration(2).fit_scale(bad)


def test_numbers_that_are_not_finite_are_refused():
    with pytest.raises(ValueError, match="not finite"):
        NumericCalibration(1).fit_scale(torch.tensor([[1.0], [float("nan")]]))


def test_weights_train_and_the_scale_does_not():
    calibration = NumericCalibration(2)
    assert {name for name, _ in calibration.named_parameters()} == {"weight", "bias"}
    assert set(calibration.state_dict()) == {"weight", "bias", "mean", "std"}
    calibration(torch.zeros(3), torch.randn(3, 2)).sum().backward()
    assert calibration.weight.grad is not None
    assert calibration.weight.grad.abs().sum() > 0


def test_features_of_a_sample():
    features = logit_features(SAMPLE)
    assert features == pytest.approx((math.log(3), 0.0, math.log(1 / 9), math.log(10), 0.0, 0.0))
    assert len(features) == len(STATISTIC_FEATURES)
    assert logit_features(SAMPLE, ("user_rate",)) == (0.0,)
    assert logit_features({**SAMPLE, "taste_margin": -0.3}, ("taste_margin",)) == (-0.3,)


@settings(deadline=None)
@given(st.floats(0, 1), st.floats(0, 1e12))
def test_features_are_always_finite_and_ordered(rate, count):
    first, second = logit_features({"item_rate": rate, "item_count": count}, ("item_rate", "item_count"))
    assert abs(first) < 7
    assert second >= 0
    assert math.isfinite(second)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("item_rate", 1.5),
        ("item_rate", -0.1),
        ("item_count", math.nan),
        ("item_count", math.inf),
        ("taste_margin", math.nan),
    ],
)
def test_bad_values_name_the_statistic(name, value):
    with pytest.raises(DataError, match=name):
        logit_features({**SAMPLE, name: value})


def test_missing_and_unknown_statistics_name_themselves():
    with pytest.raises(DataError, match="statistics user_rate, recent_rate, item_count, user_count are missing"):
        logit_features({"item_rate": 0.5})
    with pytest.raises(DataError, match="must end in"):
        logit_features({"age": 0.5}, ("age",))
