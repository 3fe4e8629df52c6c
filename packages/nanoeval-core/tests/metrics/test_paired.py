from __future__ import annotations

import itertools
import json
import random
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nanoeval_core.errors import ConfigError
from nanoeval_core.metrics.many_runs import adjust_p_values, compare_many
from nanoeval_core.metrics.paired import Comparison, compare, sign_test
from nanoeval_core.metrics.verdict import fail_if_worse


def _pair(wins: int, losses: int, ties: int) -> tuple[dict[str, float], dict[str, float]]:
    outcomes = [(0, 1)] * wins + [(1, 0)] * losses + [(1, 1)] * ties
    a = {f"q{i}": float(left) for i, (left, _) in enumerate(outcomes)}
    b = {f"q{i}": float(right) for i, (_, right) in enumerate(outcomes)}
    return a, b


def test_a_comparison_says_what_changed() -> None:
    comparison = compare(
        {"a": [1], "b": [0], "c": [1], "d": [1]}, {"a": [0], "b": [1], "c": [1], "d": [0]}
    )
    assert comparison.difference == -0.25
    assert (comparison.wins, comparison.losses, comparison.ties) == (1, 2, 1)
    assert [change.question_id for change in comparison.improved] == ["b"]
    assert [change.question_id for change in comparison.worsened] == ["a", "d"]
    assert comparison.exact_test == "McNemar"
    assert comparison.a.mean == 0.75
    assert comparison.b.mean == 0.5
    assert json.loads(json.dumps(comparison.as_dict()))["worsened"][0] == {
        "question_id": "a",
        "mean_a": 1.0,
        "mean_b": 0.0,
    }


def test_the_same_questions_make_a_difference_surer_than_its_parts() -> None:
    rng = random.Random(0)
    difficulty = {f"q{i}": rng.choice([0.05, 0.95]) for i in range(300)}
    a = {q: [float(rng.random() < p) for _ in range(4)] for q, p in difficulty.items()}
    b = {q: [float(rng.random() < p + 0.04) for _ in range(4)] for q, p in difficulty.items()}
    comparison = compare(a, b)
    assert comparison.stderr is not None
    assert comparison.a.stderr is not None
    assert comparison.stderr < 0.6 * comparison.a.stderr
    assert comparison.exact_test == "sign"


@given(wins=st.integers(0, 30), losses=st.integers(0, 30), ties=st.integers(2, 30))
def test_swapping_the_runs_mirrors_the_comparison(wins: int, losses: int, ties: int) -> None:
    a, b = _pair(wins, losses, ties)
    forth, back = compare(a, b), compare(b, a)
    assert forth.difference == pytest.approx(-back.difference)
    assert forth.low is not None
    assert back.high is not None
    assert forth.low == pytest.approx(-back.high)
    assert forth.p_value == pytest.approx(back.p_value)
    assert forth.exact_p_value == pytest.approx(back.exact_p_value)
    assert (forth.wins, forth.losses) == (back.losses, back.wins)
    assert 0 <= forth.exact_p_value <= 1


def test_equal_runs_are_not_known_to_be_equal() -> None:
    a, _ = _pair(0, 0, 100)
    comparison = compare(a, a)
    assert comparison.difference == 0.0
    assert comparison.low is not None
    assert -0.03 < comparison.low < -0.01
    assert comparison.p_value == pytest.approx(1.0)
    assert comparison.exact_p_value == 1.0


def test_unanimous_flips_are_as_sure_as_their_number() -> None:
    comparison = compare(*_pair(20, 0, 0))
    assert comparison.low == pytest.approx(0.6777, abs=1e-4)  # Wilson's, of 20 of 20
    assert comparison.high == 1.0
    assert comparison.p_value is not None
    assert comparison.p_value >= comparison.exact_p_value == pytest.approx(2 / 2**20)
    assert comparison.p_value < 1e-4


@pytest.mark.parametrize("attempts", [1, 3])
@pytest.mark.parametrize("chance", [0.9, 0.98])
def test_intervals_of_nearly_unanimous_flips_hold_the_truth(chance: float, attempts: int) -> None:
    rng = random.Random(f"{chance} {attempts}")
    covered = 0
    for _ in range(300):
        flips = {i: [float(rng.random() < chance)] * attempts for i in range(20)}
        found = compare({i: [0.0] * attempts for i in range(20)}, flips)
        assert found.low is not None
        assert found.high is not None
        covered += found.low <= chance <= found.high
    assert covered / 300 > 0.94


@given(wins=st.integers(0, 12), losses=st.integers(0, 12), ties=st.integers(0, 40))
def test_interval_and_p_value_say_the_same(wins: int, losses: int, ties: int) -> None:
    if wins + losses + ties < 2:
        return
    comparison = compare(*_pair(wins, losses, ties))
    assert comparison.low is not None
    assert comparison.high is not None
    assert comparison.p_value is not None
    assert comparison.p_value >= comparison.exact_p_value
    if comparison.p_value > 0.05:
        assert comparison.low <= 0.0 <= comparison.high


def test_clusters_make_a_difference_less_sure() -> None:
    a, b = _pair(40, 10, 50)
    passages = {question: int(question[1:]) // 10 for question in a}
    alone, together = compare(a, b), compare(a, b, clusters=passages)
    assert alone.stderr is not None
    assert together.stderr is not None
    assert together.stderr > 1.5 * alone.stderr
    assert together.num_clusters == 10


def test_different_questions_are_refused_with_some_of_them() -> None:
    a, b = {"x": 1.0, "y": 0.0, "z": 1.0}, {"x": 1.0, "w": 0.0}
    with pytest.raises(ConfigError, match=re.escape("2 only in run a ('y', 'z') and 1 only in")):
        compare(a, b)
    with pytest.raises(ConfigError, match="no question in common"):
        compare({"x": 1.0}, {"y": 1.0})
    with pytest.raises(ConfigError, match="no question in common"):
        compare({}, {})


def test_common_questions_are_compared_on_request_and_the_rest_counted() -> None:
    comparison = compare({"x": 1.0, "y": 0.0, "z": 1.0}, {"x": 1.0, "y": 1.0}, common_only=True)
    assert comparison.n == 2
    assert comparison.left_out == 1


@pytest.mark.parametrize(
    ("run", "message"),
    [
        ({"x": [], "y": [1]}, "question 'x' has no scores"),
        ({"x": [float("nan")], "y": [1]}, "question 'x' has a score that is not finite"),
    ],
)
def test_bad_scores_are_refused_with_the_question(run: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        compare({"x": 1.0, "y": 0.0}, run)


def test_one_question_supports_no_interval() -> None:
    comparison = compare({"x": 1.0}, {"x": 0.0})
    assert comparison.stderr is None
    assert comparison.low is None
    assert "2 independent questions" in comparison.why
    assert fail_if_worse(comparison).exit_code == 2


@pytest.mark.parametrize(
    ("wins", "losses", "margin", "when_unclear", "verdict", "exit_code"),
    [
        (2, 30, 0.0, "pass", "worse", 1),
        (30, 2, 0.0, "fail", "not worse", 0),
        (9, 11, 0.0, "pass", "unclear", 0),  # worse by the point, not by the interval
        (9, 11, 0.0, "fail", "unclear", 1),
        (2, 30, 0.4, "pass", "not worse", 0),
        (9, 11, 0.2, "fail", "not worse", 0),
    ],
)
def test_the_interval_decides_not_the_point(
    wins: int, losses: int, margin: float, when_unclear: Any, verdict: str, exit_code: int
) -> None:
    comparison = compare(*_pair(wins, losses, 100 - wins - losses))
    decided = fail_if_worse(comparison, margin=margin, when_unclear=when_unclear)
    assert (decided.verdict, decided.exit_code) == (verdict, exit_code)
    assert f"{comparison.difference:+.4f}" in decided.reason


def test_a_negative_margin_is_refused() -> None:
    with pytest.raises(ValueError, match=re.escape("margin=-0.1")):
        fail_if_worse(compare(*_pair(1, 1, 1)), margin=-0.1)


def test_sign_test_by_hand() -> None:
    assert sign_test(5, 0) == 2 / 2**5
    assert sign_test(1, 9) == pytest.approx(2 * (1 + 10) / 2**10)


def _runs(number: int) -> dict[str, dict[str, float]]:
    rng = random.Random(number)
    return {
        f"run-{r}": {f"q{i}": float(rng.random() < 0.5 + r / 20) for i in range(100)}
        for r in range(number)
    }


def test_many_runs_are_ranked_and_compared_pair_by_pair() -> None:
    runs = _runs(4)
    table = compare_many(runs)
    means = [estimate.mean for estimate in table.runs.values()]
    assert means == sorted(means, key=lambda mean: -(mean or 0))
    assert {frozenset((row.a, row.b)) for row in table.rows} == {
        frozenset(pair) for pair in itertools.combinations(runs, 2)
    }
    for row in table.rows:
        assert row.comparison == compare(runs[row.a], runs[row.b])
        assert row.adjusted_p_value is not None
        assert row.comparison.p_value is not None
        assert row.adjusted_p_value >= row.comparison.p_value
    assert json.loads(json.dumps(table.as_rows()))[0]["n"] == 100


def test_a_baseline_makes_fewer_pairs_and_less_correction() -> None:
    table = compare_many(_runs(4), baseline="run-0")
    assert {row.a for row in table.rows} == {"run-0"}
    alone = [row.comparison.p_value for row in table.rows]
    assert [row.adjusted_p_value for row in table.rows] == adjust_p_values(alone)
    smallest = min(p for p in alone if p is not None)
    assert min(row.adjusted_p_value or 0 for row in table.rows) == pytest.approx(
        min(1.0, 3 * smallest)
    )


def test_many_runs_name_the_pair_that_cannot_be_compared() -> None:
    runs = _runs(2) | {"other": {"elsewhere": 1.0}}
    with pytest.raises(ConfigError, match="run b is 'other': the runs have no question in common"):
        compare_many(runs)
    with pytest.raises(ConfigError, match="give at least 2"):
        compare_many(_runs(1))
    with pytest.raises(ConfigError, match="baseline='nobody' is not one of the runs"):
        compare_many(_runs(2), baseline="nobody")


def test_pairs_without_a_test_take_no_part_in_the_correction() -> None:
    assert adjust_p_values([0.01, None, 0.04]) == [0.02, None, 0.04]


def test_scores_may_be_partial_and_unequal_in_number() -> None:
    comparison: Comparison = compare({"a": [0.5, 1.0], "b": 0.25}, {"a": 0.5, "b": [0.5, 0.5]})
    assert comparison.difference == pytest.approx((-0.25 + 0.25) / 2)
    assert comparison.exact_test == "sign"


def test_an_interval_does_not_go_beyond_what_is_possible() -> None:
    found = compare({"a": 0, "b": 1}, {"a": 1, "b": 1})
    assert (found.low, found.high) == (-1.0, 1.0)
    unbounded = compare({"a": 0, "b": 10}, {"a": 10, "b": 10})
    assert unbounded.high is not None
    assert unbounded.high > 10


@pytest.mark.parametrize("scores", [None, "1", [None], ["1"]])
def test_what_is_no_score_is_refused_by_name(scores: Any) -> None:
    with pytest.raises(TypeError, match="question 'q' has the scores"):
        compare({"q": scores}, {"q": 1})


def test_a_margin_that_is_no_number_is_refused() -> None:
    found = compare({"a": 0, "b": 1}, {"a": 1, "b": 1})
    with pytest.raises(ValueError, match="margin=nan"):
        fail_if_worse(found, margin=float("nan"))
