from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nanoeval_core.metrics.agreement import cohen_kappa
from nanoeval_core.metrics.bootstrap import bootstrap_classification
from nanoeval_core.metrics.calibration import calibration
from nanoeval_core.metrics.classification import classify

LABELS = st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("abc")), min_size=1)


def test_an_unparsable_label_misses_and_claims_nothing() -> None:
    scores = classify(["a", "a", "b"], ["a", None, "b"])
    assert scores.labels["a"].recall == 0.5
    assert scores.labels["a"].precision == 1.0
    assert scores.labels["a"].f1 == pytest.approx(2 / 3)
    assert scores.unparsable == 1
    assert scores.accuracy == pytest.approx(2 / 3)
    assert scores.micro_f1 == pytest.approx(4 / 5)


def test_what_cannot_be_computed_is_absent() -> None:
    scores = classify(["a", "a"], ["b", "b"])
    assert scores.labels["a"].precision is None
    assert scores.labels["b"].recall is None
    assert scores.labels["a"].f1 == scores.labels["b"].f1 == 0.0
    assert "precision" not in scores.as_dict()["labels"]["a"]
    assert classify([], []).as_dict() == {"labels": {}, "n": 0, "unparsable": 0}


@given(pairs=LABELS)
def test_f1_lies_between_precision_and_recall(pairs: list[tuple[str, str]]) -> None:
    scores = classify([e for e, _ in pairs], [p for _, p in pairs])
    for label in scores.labels.values():
        if label.precision is not None and label.recall is not None:
            assert label.f1 is not None
            low, high = sorted((label.precision, label.recall))
            assert low - 1e-12 <= label.f1 <= high + 1e-12


def test_labels_of_unequal_length_are_refused() -> None:
    with pytest.raises(ValueError, match="2 expected labels, 1 predicted"):
        classify(["a", "b"], ["a"])


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


def test_kappa_is_1_for_full_agreement_and_absent_when_chance_explains_all() -> None:
    full = cohen_kappa(["yes", "no"], ["yes", "no"])
    assert full.kappa == 1.0
    assert full.stderr == 0.0
    constant = cohen_kappa(["yes"] * 3, ["yes"] * 3)
    assert constant.kappa is None
    assert constant.observed == 1.0
    assert "chance explains everything" in constant.why


@given(pairs=LABELS)
def test_kappa_does_not_depend_on_who_is_first(pairs: list[tuple[str, str]]) -> None:
    forth = cohen_kappa([a for a, _ in pairs], [b for _, b in pairs])
    back = cohen_kappa([b for _, b in pairs], [a for a, _ in pairs])
    assert forth.kappa == pytest.approx(back.kappa)
    assert forth.kappa is None or -1 <= forth.kappa <= 1


def test_items_without_a_label_are_left_out_and_counted() -> None:
    found = cohen_kappa([1, 0, None, 1], [1, 0, 1, None])
    assert found.n == 2
    assert found.missing == 2
    with pytest.raises(ValueError, match="no item was graded by both"):
        cohen_kappa([None], [1])


def test_labels_outside_the_scale_are_refused() -> None:
    with pytest.raises(ValueError, match=re.escape("graders gave labels [\"'d'\"]")):
        cohen_kappa(["a", "d"], ["a", "a"], labels=["a", "b"])


def test_the_bootstrap_of_labels_takes_what_classify_takes() -> None:
    pytest.importorskip("numpy")
    expected, predicted = ["a", "b", "b", 3] * 20, ["a", None, "b", "z"] * 20
    first = bootstrap_classification(expected, predicted, seed=1)
    assert first == bootstrap_classification(expected, predicted, seed=1)
    found = classify(expected, predicted)
    for name, interval in first.items():
        assert interval.low < getattr(found, name) < interval.high
    with pytest.raises(ValueError, match="need as many of each"):
        bootstrap_classification(["a"], ["a"], clusters=[1, 2])
    with pytest.raises(ValueError, match="need as many of each, and at least 1"):
        bootstrap_classification([], [])
