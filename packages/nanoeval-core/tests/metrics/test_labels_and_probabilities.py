from __future__ import annotations

import pytest
from nanoeval_core.metrics.calibration import calibration


def test_calibration_by_hand() -> None:
    found = calibration(
        {"a": [0.9, 0.8], "b": [0.15, None]}, {"a": [True, False], "b": [False, True]}, num_bins=5
    )
    assert found is not None
    assert found.n == 3
    assert found.missing == 1
    assert found.brier.mean == pytest.approx(((0.01 + 0.64) / 2 + 0.0225) / 2)
    # 0.9 in (0.8, 1], 0.8 in (0.6, 0.8], 0.15 in (0, 0.2]
    assert [(b.low, b.n) for b in found.bins] == [(0.0, 1), (0.6, 1), (0.8, 1)]
    assert found.ece == pytest.approx((0.1 + 0.8 + 0.15) / 3)
    assert found.as_dict()["brier_n"] == 2


def test_calibration_without_probabilities_is_absent() -> None:
    assert calibration({"a": [None]}, {"a": [True]}) is None
    assert calibration({}, {}) is None


def test_certainty_fits_the_outer_bins() -> None:
    found = calibration({"a": [0.0], "b": [1.0]}, {"a": [False], "b": [True]})
    assert found is not None
    assert found.ece == 0.0
    assert [b.low for b in found.bins] == [0.0, 0.9]


@pytest.mark.parametrize("probability", [-0.1, 1.1, float("nan")])
def test_a_probability_out_of_range_is_refused(probability: float) -> None:
    with pytest.raises(ValueError, match="question 'a' has the probability"):
        calibration({"a": [probability]}, {"a": [True]})
