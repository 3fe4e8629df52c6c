from __future__ import annotations

import random

import pytest
from nanoeval_core.metrics.accumulator import Accumulator
from nanoeval_core.metrics.clustered_mean import clustered_mean
from nanoeval_core.metrics.variance_split import (
    VarianceSplit,
    describe_power,
    questions_for_difference,
)


def _run(seed: int, questions: int, attempts: int) -> dict[int, list[float]]:
    """Question difficulties 0.2 or 0.8: between 0.09, within 0.16."""
    rng = random.Random(seed)
    chances = [rng.choice([0.2, 0.8]) for _ in range(questions)]
    return {i: [float(rng.random() < p) for _ in range(attempts)] for i, p in enumerate(chances)}


def variance_split(scores: dict[int, list[float]]) -> VarianceSplit | None:
    totals = Accumulator()
    for question, attempts in scores.items():
        for score in attempts:
            totals.add(question, score)
    return totals.variance_split()


def test_variance_is_split_where_it_comes_from() -> None:
    split = variance_split(_run(0, 20_000, 3))
    assert split is not None
    assert split.between == pytest.approx(0.09, abs=0.004)
    assert split.within == pytest.approx(0.16, abs=0.004)


def test_the_parts_add_up_to_the_standard_error() -> None:
    scores = _run(1, 200, 4)
    split, estimate = variance_split(scores), clustered_mean(scores)
    assert split is not None
    assert split.stderr() == pytest.approx(estimate.stderr, rel=1e-12)


def test_ragged_attempts_are_split_too() -> None:
    rng = random.Random(2)
    scores = {q: values[: rng.randint(1, 4)] for q, values in _run(2, 20_000, 4).items()}
    split = variance_split(scores)
    assert split is not None
    assert split.between == pytest.approx(0.09, abs=0.005)
    assert split.within == pytest.approx(0.16, abs=0.005)


def test_single_attempts_do_not_tell_the_parts_apart() -> None:
    assert variance_split({1: [0.0], 2: [1.0]}) is None
    assert variance_split({1: [0.0, 1.0]}) is None


def test_what_halves_the_error_is_what_the_formula_says() -> None:
    scores = {i: [float(i % 2), float(i % 3 == 0)] for i in range(60)}
    split, estimate = variance_split(scores), clustered_mean(scores)
    assert split is not None
    assert split.stderr(n=4 * split.n) == pytest.approx(split.stderr() / 2)
    needed = split.attempts_to_halve
    assert needed is not None
    assert split.stderr(attempts=needed) <= split.stderr() / 2 + 1e-12
    assert split.stderr(attempts=needed - 1) > split.stderr() / 2
    power = describe_power(estimate, split)
    assert power["questions_to_halve_stderr"] == 240
    assert power["attempts_to_halve_stderr"] == needed
    assert f"or {needed} attempts per question" in power["text"]


def test_attempts_cannot_halve_an_error_that_comes_from_the_questions() -> None:
    scores = {i: [float(i % 2)] * 3 for i in range(20)}
    split = variance_split(scores)
    assert split is not None
    assert split.within == 0.0
    assert split.attempts_to_halve is None
    assert "no number of attempts would" in describe_power(clustered_mean(scores), split)["text"]


def test_the_questions_asked_for_do_show_the_difference() -> None:
    """As often as promised: 80 % of simulated pairs of runs exclude 0."""
    n = questions_for_difference(2 * 0.25, 0.1)
    assert n == 393
    rng = random.Random(3)
    found = 0
    for _ in range(400):
        difference = sum((rng.random() < 0.55) - (rng.random() < 0.45) for _ in range(n)) / n
        found += abs(difference) > 1.96 * (2 * 0.2475 / n) ** 0.5
    assert 0.74 < found / 400 < 0.86


def test_no_power_is_claimed_where_nothing_shows_how_scores_vary() -> None:
    assert describe_power(clustered_mean({i: [1] for i in range(30)}), None) == {}
    assert describe_power(clustered_mean({i: [0.1] * 3 for i in range(30)}), None) == {}


def test_power_needs_a_standard_error() -> None:
    assert describe_power(clustered_mean({"a": [1]}), None) == {}
    with pytest.raises(ValueError, match="difference=0"):
        questions_for_difference(0.5, 0)
