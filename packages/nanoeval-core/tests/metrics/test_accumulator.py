from __future__ import annotations

import math
import random
import re
import statistics
import sys
from collections.abc import Callable, Hashable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nanoeval_core import GraderError, RolloutSystemError, Task, TaskTimeoutError
from nanoeval_core.metrics.accumulator import Accumulator
from nanoeval_core.metrics.clustered_mean import MeanEstimate, clustered_mean
from nanoeval_core.metrics.outcomes import Outcome
from nanoeval_core.metrics.running_summary import RunningAccuracy
from nanoeval_core.metrics.samples import Sample, summarize_samples

BINARY = st.sampled_from([0.0, 1.0])
ANY_SCORE = st.floats(min_value=-1e3, max_value=1e3)


def _assert_close(left: MeanEstimate, right: MeanEstimate) -> None:
    for field in ("mean", "stderr", "low", "high"):
        ours, theirs = getattr(left, field), getattr(right, field)
        if theirs is None:
            assert ours is None
        else:
            assert ours == pytest.approx(theirs, rel=1e-9, abs=1e-9), field
    assert (left.n, left.num_scores, left.num_clusters) == (
        right.n,
        right.num_scores,
        right.num_clusters,
    )
    assert left.method == right.method


@given(
    attempts=st.lists(
        st.tuples(st.integers(0, 8), st.one_of(BINARY, ANY_SCORE)), min_size=1, max_size=60
    ),
    clusters=st.none() | st.dictionaries(st.integers(0, 8), st.integers(0, 3), min_size=9),
    binary=st.booleans(),
)
def test_totals_agree_with_the_batch_formulas_in_any_order(
    attempts: list[tuple[int, float]], clusters: dict[int, int] | None, binary: bool
) -> None:
    totals = Accumulator()
    scores: dict[int, list[float]] = {}
    for question, score in attempts:
        value = float(score > 0) if binary else score
        scores.setdefault(question, []).append(value)
        totals.add(question, value, cluster=clusters[question] if clusters else None)

    expected = clustered_mean(scores, clusters=clusters)
    scale = max(1.0, *(abs(s) for values in scores.values() for s in values))
    # Below rounding the two may disagree on whether there is any spread at all.
    if expected.stderr is not None and 0 < expected.stderr < 1e-6 * scale:
        return
    _assert_close(totals.estimate(), expected)
    assert totals.mean == pytest.approx(expected.mean, rel=1e-9, abs=1e-9)
    split, expected_parts = totals.variance_split(), _parts_of_variance(scores)
    if expected_parts is None or split is None:
        assert split is expected_parts
    else:
        between, within = expected_parts
        assert split.within == pytest.approx(within, rel=1e-9, abs=1e-6)
        assert split.between == pytest.approx(between, rel=1e-9, abs=1e-6)


def _parts_of_variance(scores: dict[int, list[float]]) -> tuple[float, float] | None:
    repeated = [statistics.variance(values) for values in scores.values() if len(values) > 1]
    if len(scores) < 2 or not repeated:
        return None
    within = statistics.fmean(repeated)
    of_means = statistics.variance([statistics.fmean(values) for values in scores.values()])
    inverse = statistics.fmean([1 / len(values) for values in scores.values()])
    return max(0.0, of_means - within * inverse), within


def test_rounding_does_not_build_up_over_many_updates() -> None:
    rng = random.Random(0)
    totals = Accumulator()
    scores: dict[int, list[float]] = {}
    for _ in range(30_000):
        question, score = rng.randrange(50), rng.gauss(1e6, 1.0)
        totals.add(question, score)
        scores.setdefault(question, []).append(score)
    _assert_close(totals.estimate(), clustered_mean(scores))


def test_the_work_of_a_summary_does_not_grow_with_the_questions() -> None:
    work = []
    for num_questions in (100, 10_000):
        totals = Accumulator()
        for question in range(num_questions):
            for attempt in range(3):
                totals.add(question, (question + attempt) % 4 == 0)
        work.append(_lines_run(totals.summary))
    assert work[1] < 10 * work[0]  # quantiles take more or fewer iterations, not 100 times


def _lines_run(function: Callable[[], Any]) -> int:
    """How many lines of Python a call runs: work that no other process can change."""
    lines = 0

    def trace(frame: Any, event: str, arg: Any) -> Any:
        nonlocal lines
        lines += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        function()
    finally:
        sys.settrace(before)
    return lines


def test_summary_says_what_the_batch_summary_says() -> None:
    rng = random.Random(1)
    samples = [
        Sample(instance=q, attempt=a, is_correct=rng.random() < 0.6)
        for q in range(40)
        for a in range(4)
    ]
    totals = Accumulator()
    for sample in rng.sample(samples, len(samples)):
        totals.add(sample.instance, sample.is_correct)

    ours, batch = totals.summary(), summarize_samples(samples)
    assert batch["pass@4"] > batch["accuracy"] > batch["pass^4"]
    for name, value in batch.items():
        assert ours[name] == (pytest.approx(value) if isinstance(value, float) else value)


def test_errors_are_counted_next_to_the_score() -> None:
    totals = Accumulator()
    totals.add_error("a", RolloutSystemError("x"))
    totals.add_error("b", TaskTimeoutError("x"))
    totals.add_error("c", GraderError("x"))
    totals.add_error("c", GraderError("x"))
    totals.add("a", True)
    totals.add("d", False, outcome=Outcome.REFUSED)

    summary = totals.summary()
    assert summary["accuracy"] == 0.5
    assert summary["is_valid"] is False
    assert summary["num_tasks"] == 6
    assert summary["system_errors"] == {
        "total": 4,
        "by_type": {"GraderError": 2, "RolloutSystemError": 1, "TaskTimeoutError": 1},
        "instances_affected": 3,
        "instances_lost": 2,
    }
    assert summary["counts"]["refused"] == 1
    assert summary["counts"]["answered"] == 1


def test_nothing_sums_up_to_no_number() -> None:
    summary = Accumulator().summary()
    assert "accuracy" not in summary
    assert summary["n"] == 0
    assert summary["unavailable"] == {"accuracy": "no results"}


@pytest.mark.parametrize("score", [math.nan, math.inf])
def test_a_score_that_is_not_finite_is_refused(score: float) -> None:
    with pytest.raises(ValueError, match="question 'q' has a score that is not finite"):
        Accumulator().add("q", score)


def test_a_question_stays_in_its_cluster() -> None:
    totals = Accumulator()
    totals.add("q", 1, cluster="p")
    with pytest.raises(ValueError, match=re.escape("different clusters: 'p' and None")):
        totals.add("q", 1)


def _results(numbers: range) -> list[tuple[Task, Any]]:
    return [(Task(question_id=str(number)), number % 3 == 0) for number in numbers]


def test_catching_up_looks_only_at_what_is_new() -> None:
    scored: list[Hashable] = []

    def score(task: Task, result: bool) -> float:
        scored.append(task.question_id)
        return result

    running = RunningAccuracy(score)
    results = _results(range(4))
    running.catch_up(results)
    results += [*_results(range(4, 6)), (Task(question_id="e"), RolloutSystemError("x"))]
    summary = running.catch_up(results).summary()

    assert scored == ["0", "1", "2", "3", "4", "5"]
    assert summary["n"] == 6
    assert summary["num_tasks"] == 7
    assert running.catch_up(results).mean == summary["accuracy"] == pytest.approx(2 / 6)


def test_catching_up_with_other_results_starts_over() -> None:
    running = RunningAccuracy(lambda task, result: result)
    running.catch_up(_results(range(4)))
    assert running.catch_up(_results(range(10, 12))).summary()["n"] == 2
    assert running.catch_up([]).summary()["n"] == 0


def test_clusters_and_outcomes_come_from_the_functions_given() -> None:
    running = RunningAccuracy(
        lambda task, result: result == "right",
        outcome=lambda task, result: Outcome.UNPARSABLE if result is None else None,
        cluster=lambda task: task.question_id[0],
    )
    for name, result in (("a1", "right"), ("a2", None), ("b1", "wrong")):
        running.add(Task(question_id=name), result)

    assert running.totals.estimate().num_clusters == 2
    assert running.summary()["counts"]["unparsable"] == 1
