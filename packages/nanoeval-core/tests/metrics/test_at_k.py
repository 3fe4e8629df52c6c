"""pass@k, pass^k and cons@k against all subsets, and as k and n vary."""

from __future__ import annotations

import re
from collections import Counter
from fractions import Fraction
from itertools import combinations
from math import comb

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nanoeval_core.metrics import consensus
from nanoeval_core.metrics.at_k import supported_ks
from nanoeval_core.metrics.consensus import consensus_at_k
from nanoeval_core.metrics.pass_at_k import pass_at_k, pass_hat_k

ATTEMPTS = st.lists(st.booleans(), min_size=1, max_size=9)


def _subsets(n: int, k: int) -> list[tuple[int, ...]]:
    return list(combinations(range(n), k))


@given(attempts=ATTEMPTS, data=st.data())
def test_pass_at_k_and_pass_hat_k_average_over_all_subsets(
    attempts: list[bool], data: st.DataObject
) -> None:
    n = len(attempts)
    k = data.draw(st.integers(1, n))
    subsets = [[attempts[i] for i in subset] for subset in _subsets(n, k)]
    any_right = sum(map(any, subsets)) / len(subsets)
    all_right = sum(map(all, subsets)) / len(subsets)
    assert pass_at_k(n, sum(attempts), k) == pytest.approx(any_right, abs=1e-12)
    assert pass_hat_k(n, sum(attempts), k) == pytest.approx(all_right, abs=1e-12)


@pytest.mark.parametrize(
    ("n", "c", "k"), [(1_000_000, 1, 10), (10_000, 5_000, 64), (3_000, 7, 999)]
)
def test_estimates_stay_exact_for_many_attempts(n: int, c: int, k: int) -> None:
    exact = 1 - Fraction(comb(n - c, k), comb(n, k))
    assert pass_at_k(n, c, k) == pytest.approx(float(exact), rel=1e-10)
    assert pass_hat_k(n, n - c, k) == pytest.approx(float(1 - exact), rel=1e-10)


@given(attempts=ATTEMPTS)
def test_more_attempts_pass_more_often_and_all_of_them_less(attempts: list[bool]) -> None:
    n, c = len(attempts), sum(attempts)
    passes = [pass_at_k(n, c, k) for k in range(1, n + 1)]
    alls = [pass_hat_k(n, c, k) for k in range(1, n + 1)]
    assert passes == sorted(passes)
    assert alls == sorted(alls, reverse=True)
    assert passes[0] == pytest.approx(c / n)
    assert passes[-1] == (c > 0)
    assert alls[-1] == (c == n)


@pytest.mark.parametrize(("n", "c", "k"), [(3, 4, 1), (3, -1, 1), (3, 1, 0), (3, 1, 4)])
def test_impossible_counts_are_refused(n: int, c: int, k: int) -> None:
    with pytest.raises(ValueError, match=re.escape(f"n={n}")):
        pass_at_k(n, c, k)


def _by_all_subsets(answers: list[str | None], correct: dict[str, bool], k: int) -> float:
    total = Fraction(0)
    subsets = _subsets(len(answers), k)
    for subset in subsets:
        votes = Counter(answers[i] for i in subset if answers[i] is not None)
        if votes:
            winners = [answer for answer, number in votes.items() if number == max(votes.values())]
            right = sum(correct[answer] for answer in winners if answer is not None)
            total += Fraction(right, len(winners))
    return float(total / len(subsets))


@given(
    answers=st.lists(st.sampled_from(["a", "b", "c", "d", None]), min_size=1, max_size=9),
    right=st.sets(st.sampled_from("abcd")),
    data=st.data(),
)
def test_consensus_averages_the_majority_of_all_subsets(
    answers: list[str | None], right: set[str], data: st.DataObject
) -> None:
    k = data.draw(st.integers(1, len(answers)))
    correct = {answer: answer in right for answer in "abcd"}
    ours = consensus_at_k(answers, correct, k)
    assert ours.exact
    assert ours.value == pytest.approx(_by_all_subsets(answers, correct, k), abs=1e-12)


def test_consensus_of_one_attempt_is_accuracy() -> None:
    answers = ["a", "a", "b", None]
    assert consensus_at_k(answers, {"a": True, "b": False}, 1).value == 0.5


def test_replies_without_an_answer_have_no_vote_together() -> None:
    answers = [None, None, None, "a"]
    assert consensus_at_k(answers, {"a": True}, 4).value == 1.0
    assert consensus_at_k([None, None], {}, 2).value == 0.0


def test_many_attempts_are_sampled_with_a_seed_and_say_so() -> None:
    answers = [f"answer-{i % 40}" for i in range(400)]
    correct = {answer: answer in {"answer-0", "answer-1"} for answer in answers}
    first = consensus_at_k(answers, correct, 200)
    assert first.draws == consensus.MONTE_CARLO_DRAWS
    assert first == consensus_at_k(answers, correct, 200)
    assert first.value != consensus_at_k(answers, correct, 200, seed=1).value
    assert first.value == pytest.approx(2 / 40, abs=0.01)  # all answers are alike


def test_sampling_agrees_with_the_exact_expectation(monkeypatch: pytest.MonkeyPatch) -> None:
    answers: list[str | None] = [*"aaaabbbcc", None]
    correct = {"a": True, "b": False, "c": False}
    exact = consensus_at_k(answers, correct, 5)
    monkeypatch.setattr(consensus, "_EXACT_STEPS", 0)
    consensus._consensus.cache_clear()
    sampled = consensus_at_k(answers, correct, 5)
    consensus._consensus.cache_clear()
    assert exact.exact
    assert not sampled.exact
    assert sampled.value == pytest.approx(exact.value, abs=0.02)


def test_a_group_of_unknown_correctness_is_refused() -> None:
    with pytest.raises(ValueError, match="answer group 'b' is not said to be correct"):
        consensus_at_k(["a", "b"], {"a": True}, 1)


@pytest.mark.parametrize(
    ("fewest", "ks"), [(1, [1]), (2, [1, 2]), (6, [1, 2, 4, 6]), (8, [1, 2, 4, 8])]
)
def test_every_k_reported_is_supported(fewest: int, ks: list[int]) -> None:
    assert supported_ks(fewest) == ks
