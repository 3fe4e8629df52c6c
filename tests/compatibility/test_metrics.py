"""`nanoeval.metrics.standard` and `.agents`: names, shapes and numbers."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterator
from typing import Any

import pytest
from nanoeval.eval import RolloutSystemError, Task
from nanoeval.library_config import LibraryConfig, get_library_config, set_library_config
from nanoeval.metrics.agents import get_summary_error_aware
from nanoeval.metrics.standard import (
    compute_default_metrics,
    compute_default_metrics_on_correctness_without_answer_groups,
    handle_system_errors_and_compute_metrics,
)

pandas = pytest.importorskip("pandas")

SAMPLES = {
    "instance": ["a", "a", "b", "b"],
    "attempt": [0, 1, 0, 0],
    "answer_group_id": [0, 1, 0, 2],
}
GROUPS = {
    "instance": ["a", "a", "b", "b"],
    "answer_group_id": [0, 1, 0, 2],
    "is_correct": [True, False, False, True],
}


def task(question: str, attempt: int = 1) -> Task:
    return Task(question_id=question, attempt_id=attempt)


@pytest.fixture
def library() -> Iterator[None]:
    former = get_library_config()
    yield
    set_library_config(former)


class Counting(LibraryConfig):
    """A team's own metrics, which take pandas DataFrames."""

    def compute_default_metrics(
        self, samples_df: Any, answer_group_correctness_df: Any
    ) -> dict[str, Any]:
        assert isinstance(samples_df, pandas.DataFrame)
        merged = samples_df.merge(answer_group_correctness_df, on=["instance", "answer_group_id"])
        return {"correct": int(merged["is_correct"].sum()), "rows": len(samples_df)}


def test_instances_weigh_equally_and_rows_may_repeat_an_attempt() -> None:
    samples, groups = pandas.DataFrame(SAMPLES), pandas.DataFrame(GROUPS)
    metrics = compute_default_metrics(samples_df=samples, answer_group_correctness_df=groups)
    assert metrics["accuracy"] == 0.5
    assert list(samples.columns) == list(SAMPLES)


def test_no_rows_give_an_accuracy_that_is_nan() -> None:
    empty = pandas.DataFrame({column: [] for column in SAMPLES})
    assert math.isnan(compute_default_metrics(empty, pandas.DataFrame(GROUPS))["accuracy"])


@pytest.mark.parametrize(
    ("samples", "kind", "said"),
    [
        ({"instance": ["a"], "attempt": [1]}, ValueError, "answer_group_id"),
        ({**SAMPLES, "instance": ["a:b", "a", "b", "b"]}, AssertionError, "'a:b' contains ':'"),
        ({**SAMPLES, "answer_group_id": [0, 1, 0, 9]}, ValueError, "9 of instance 'b'"),
    ],
)
def test_tables_are_checked(samples: Any, kind: type[Exception], said: str) -> None:
    with pytest.raises(kind, match=said):
        compute_default_metrics(pandas.DataFrame(samples), pandas.DataFrame(GROUPS))


def test_correctness_alone_makes_two_groups_and_is_not_changed() -> None:
    frame = pandas.DataFrame(
        {"instance": ["a", "a", "b"], "attempt": [1, 2, 1], "is_correct": [True, False, True]}
    )
    before = frame.copy()
    compute = compute_default_metrics_on_correctness_without_answer_groups
    assert compute(correctness_df=frame)["accuracy"] == 0.75
    assert frame.equals(before)
    assert compute(frame.iloc[:0]) == {}


def test_a_team_may_have_its_own_metrics(library: None) -> None:
    set_library_config(Counting())
    frames = pandas.DataFrame(SAMPLES), pandas.DataFrame(GROUPS)
    assert compute_default_metrics(*frames) == {"correct": 2, "rows": 4}
    alone = pandas.DataFrame({"instance": ["a", "b"], "attempt": [1, 1], "is_correct": [1, 0]})
    assert compute_default_metrics_on_correctness_without_answer_groups(alone) == {
        "correct": 1,
        "rows": 2,
    }
    results: list[Any] = [(task("a"), True), (task("b"), RolloutSystemError("x"))]
    summary = get_summary_error_aware(results)
    assert (summary["correct"], summary["rows"]) == (1, 1)
    assert summary["metrics_including_errors"]["rows"] == 2


def test_errors_are_left_out_and_replaced() -> None:
    results: list[Any] = [(task("a"), 1), (task("a", 2), RolloutSystemError("x")), (task("b"), 0)]

    async def metrics(pairs: list[tuple[Task, int]]) -> dict[str, Any]:
        return {"sum": sum(value for _, value in pairs), "n": len(pairs)}

    def lost(task: Task) -> int:
        return 10

    summary = asyncio.run(
        handle_system_errors_and_compute_metrics(
            metrics_fn=metrics, results=results, process_invalid=lost
        )
    )
    assert (summary["sum"], summary["n"], summary["num_tasks"]) == (1, 2, 2)
    assert summary["is_valid"] is False  # an attempt was lost, though no question was
    assert summary["metrics_including_errors"] == {"sum": 11, "n": 3, "num_tasks": 2}

    def none(task: Task) -> int:
        raise NotImplementedError

    summary = asyncio.run(handle_system_errors_and_compute_metrics(metrics, results, none))
    assert "metrics_including_errors" not in summary


def test_the_summary_of_agents() -> None:
    assert get_summary_error_aware([]) == {}
    results: list[Any] = [
        (task("a"), True),
        (task("a", 2), False),
        (task("b"), RolloutSystemError("no machine")),
        (task("c"), True),
        (task("c", 2), RolloutSystemError("no machine")),
    ]
    summary = asyncio.run(asyncio.to_thread(get_summary_error_aware, results))
    assert summary["accuracy"] == 0.75
    assert summary["aggregations"] == {
        "num_tasks": 2,
        "num_attempts": 3,
        "num_correct": 2,
        "num_incorrect": 1,
        "num_system_error": 0,
        "error_breakdown": {},
    }
    assert summary["missing_tasks"] == ["b"]
    assert summary["is_valid"] is False
    including = summary["metrics_including_errors"]
    assert including["accuracy"] == pytest.approx((0.5 + 0.0 + 0.5) / 3)
    assert including["aggregations"] == {
        "num_tasks": 3,
        "num_attempts": 5,
        "num_correct": 2,
        "num_incorrect": 1,
        "num_system_error": 2,
        "error_breakdown": {"no machine": 2},
    }


def test_the_summary_of_agents_without_any_result() -> None:
    summary = get_summary_error_aware([(task("a"), RolloutSystemError("down"))])
    assert math.isnan(summary["accuracy"])
    assert summary["aggregations"]["num_attempts"] == 0
    assert summary["metrics_including_errors"]["accuracy"] == 0.0
    assert summary["missing_tasks"] == ["a"]
    with pytest.raises(AssertionError, match="contains ':'"):
        get_summary_error_aware([(task("a:b"), True)])


def test_all_is_valid_without_errors() -> None:
    assert get_summary_error_aware([(task("a"), True)])["is_valid"] is True
