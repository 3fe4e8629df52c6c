from __future__ import annotations

import math
import re
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from nanoeval_core.metrics.clustered_mean import clustered_mean

UNIT_SCORES = st.dictionaries(
    st.integers(0, 30),
    st.lists(st.sampled_from([0.0, 0.25, 1.0]), min_size=1, max_size=4),
    min_size=2,
    max_size=30,
)


@given(scores=UNIT_SCORES)
def test_an_interval_of_scores_from_0_to_1_holds_the_mean_and_stays_there(
    scores: dict[int, list[float]],
) -> None:
    estimate = clustered_mean(scores)
    assert estimate.mean is not None
    assert estimate.low is not None
    assert estimate.high is not None
    assert 0 <= estimate.low <= estimate.mean <= estimate.high <= 1
    assert estimate.low < estimate.high


@given(scores=UNIT_SCORES)
def test_right_and_wrong_are_symmetric(scores: dict[int, list[float]]) -> None:
    mirrored = {question: [1 - score for score in values] for question, values in scores.items()}
    ours, theirs = clustered_mean(scores), clustered_mean(mirrored)
    assert ours.mean is not None
    assume(abs(ours.mean - 0.5) > 1e-9)
    assert ours.low is not None
    assert theirs.high is not None
    assert ours.low == pytest.approx(1 - theirs.high, abs=1e-9)
    assert ours.stderr == pytest.approx(theirs.stderr, abs=1e-9)


@given(scores=UNIT_SCORES)
def test_a_cluster_of_one_question_each_changes_nothing_but_the_method(
    scores: dict[int, list[float]],
) -> None:
    alone = clustered_mean(scores, clusters={question: question for question in scores})
    plain = clustered_mean(scores)
    assert alone.mean == plain.mean
    assert alone.stderr == plain.stderr
    assert alone.num_clusters == plain.num_clusters


@given(scores=UNIT_SCORES, factor=st.floats(0.1, 100), shift=st.floats(-50, 50))
def test_scores_on_another_scale_scale_the_estimate(
    scores: dict[int, list[float]], factor: float, shift: float
) -> None:
    moved = {q: [factor * score + shift for score in values] for q, values in scores.items()}
    ours, theirs = clustered_mean(scores), clustered_mean(moved)
    assert ours.mean is not None
    assert ours.stderr is not None
    assert theirs.mean == pytest.approx(factor * ours.mean + shift, abs=1e-9)
    assert theirs.stderr == pytest.approx(factor * ours.stderr, abs=1e-9)


def test_questions_weigh_equally_however_many_attempts_they_have() -> None:
    assert clustered_mean({"a": [1] * 99, "b": [0]}).mean == 0.5


def test_surer_intervals_are_wider_and_nest() -> None:
    scores = {i: [float(i % 3 == 0), float(i % 2)] for i in range(40)}
    widths = []
    for confidence in (0.5, 0.8, 0.95, 0.999):
        estimate = clustered_mean(scores, confidence=confidence)
        assert estimate.low is not None
        assert estimate.high is not None
        widths.append(estimate.high - estimate.low)
    assert widths == sorted(widths)


def test_perfect_scores_are_not_certain() -> None:
    """The rule of three: with nothing wrong of 30, up to a tenth may be."""
    single = clustered_mean({i: [1] for i in range(30)})
    repeated = clustered_mean({i: [1] * 8 for i in range(30)})
    assert single.high == repeated.high == 1.0
    for estimate in (single, repeated):
        assert estimate.low is not None
        assert 0.85 < estimate.low < 0.9


@pytest.mark.parametrize("score", [0.0, 1.0])
def test_asking_more_never_widens_the_interval_of_all_right_questions(score: float) -> None:
    def width(scores: dict[Any, list[float]], clusters: dict[Any, Any] | None = None) -> float:
        found = clustered_mean(scores, clusters=clusters)
        assert found.low is not None
        assert found.high is not None
        return found.high - found.low

    asked = {i: [score] for i in range(10)}
    assert width({i: [score] * 5 for i in range(10)}) <= width(asked)
    assert width({i: [score] for i in range(11)}) < width(asked)
    passages = {i: i for i in range(10)}
    more = asked | {10 + i: [score] for i in range(90)}  # of a passage that is there already
    assert width(more, passages | {10 + i: 0 for i in range(90)}) <= width(asked, passages)


def test_scores_without_bounds_that_do_not_differ_have_no_interval() -> None:
    estimate = clustered_mean({"a": [3.7], "b": [3.7]})
    assert estimate.mean == 3.7
    assert estimate.low is None
    assert "scores that differ" in estimate.why
    assert estimate.as_dict("reward") == {"reward": 3.7, "reward_stderr": 0.0, "reward_n": 2}


def test_questions_of_one_cluster_say_nothing_of_their_spread() -> None:
    estimate = clustered_mean({"a": [0], "b": [1]}, clusters={"a": 1, "b": 1})
    assert estimate.mean == 0.5
    assert estimate.stderr is None
    assert estimate.low is None
    assert "2 independent questions" in estimate.why


def test_nothing_has_no_mean() -> None:
    estimate = clustered_mean({})
    assert estimate.mean is None
    assert estimate.as_dict("accuracy") == {"accuracy_n": 0}


def test_entries_name_the_confidence() -> None:
    entries = clustered_mean({"a": [0], "b": [1]}, confidence=0.9).as_dict("accuracy")
    assert set(entries) == {"accuracy", "accuracy_stderr", "accuracy_ci90", "accuracy_n"}


@pytest.mark.parametrize(
    ("scores", "clusters", "message"),
    [
        ({"a": []}, None, "question 'a' has no scores"),
        ({"a": [math.nan]}, None, "question 'a' has a score that is not finite"),
        ({"a": [1], "b": [0]}, {"a": 1}, "clusters has no entry for question 'b'"),
    ],
)
def test_bad_scores_are_refused_with_the_question(
    scores: dict[str, list[float]], clusters: dict[str, int] | None, message: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        clustered_mean(scores, clusters=clusters)


@pytest.mark.parametrize("confidence", [0.0, 1.0, 95])
def test_a_confidence_out_of_range_is_refused(confidence: float) -> None:
    with pytest.raises(ValueError, match="confidence="):
        clustered_mean({"a": [1], "b": [0]}, confidence=confidence)
