from __future__ import annotations

import asyncio
from typing import Any

import chz
import pytest
from nanoeval_core import Eval, GraderError, RolloutSystemError, Task, TaskTimeoutError
from nanoeval_core.metrics.standard import summarize_results
from nanoeval_core.task import repeat_tasks


@chz.chz
class Accuracy(Eval[Task, bool]):
    def get_name(self) -> str:
        return "accuracy"

    async def get_tasks(self) -> list[Task]:
        return [Task(question_id="q")]

    async def evaluate(self, task: Task) -> bool:
        return True

    async def get_summary(self, results: list[tuple[Task, bool]]) -> dict[str, Any]:
        return {"accuracy": sum(r for _, r in results) / max(1, len(results))}


@chz.chz
class FailuresAreWrong(Accuracy):
    def process_invalid(self, task: Task) -> bool:
        return False


def _task(question: str, attempt: int = 1) -> Task:
    return Task(question_id=question, attempt_id=attempt)


RESULTS: list[tuple[Task, bool | RolloutSystemError]] = [
    (_task("a"), True),
    (_task("a", 2), RolloutSystemError("outage")),
    (_task("b"), TaskTimeoutError("slow")),
    (_task("c"), GraderError("grader down")),
    (_task("d"), False),
]


def test_system_errors_are_kept_out_of_the_score_and_in_sight() -> None:
    summary = asyncio.run(Accuracy().get_full_summary(RESULTS))

    assert summary["accuracy"] == 0.5
    assert summary["num_tasks"] == 2  # questions with a score
    assert summary["is_valid"] is False
    assert summary["system_errors"] == {
        "total": 3,
        "by_type": {"RolloutSystemError": 1, "TaskTimeoutError": 1, "GraderError": 1},
        "instances_affected": 3,
        "instances_lost": 2,
    }
    assert summary["counts"] == {
        "asked": 5,
        "answered": 2,
        "correct": 1,
        "incorrect": 1,
        "unparsable": 0,
        "refused": 0,
        "system_error": 1,
        "grader_error": 1,
        "timed_out": 1,
    }
    assert "metrics_including_errors" not in summary


def test_process_invalid_adds_metrics_including_errors() -> None:
    summary = asyncio.run(FailuresAreWrong().get_full_summary(RESULTS))

    assert summary["accuracy"] == 0.5
    assert summary["metrics_including_errors"] == {"accuracy": 0.2, "num_tasks": 4}


class Sum(Task):
    subject: str


def test_attempts_and_pass_at_k_of_a_custom_eval() -> None:
    tasks = repeat_tasks([Sum(question_id=q, subject=q[0]) for q in ("a1", "a2", "b1")], 4)
    assert [task.name for task in tasks[2:5]] == ["b1.1", "a1.2", "a2.2"]
    results = [(task, task.attempt_id > 2 and task.subject == "a") for task in tasks]
    summary = summarize_results(results, by=["subject"])
    assert summary["accuracy"] == pytest.approx(1 / 3)
    assert summary["pass@4"] == pytest.approx(2 / 3)
    assert summary["by"]["subject"]["a"]["pass@4"] == 1.0
    graded = summarize_results([(task, 3) for task in tasks], score=lambda task, result: result / 4)
    assert graded["accuracy"] == 0.75
    with pytest.raises(ValueError, match=r"the result of task 'a1\.1', 'yes', does not tell"):
        summarize_results([(tasks[0], "yes")])
    with pytest.raises(ValueError, match="attempts=0"):
        repeat_tasks(tasks, 0)


def test_without_errors_all_is_valid() -> None:
    summary = asyncio.run(FailuresAreWrong().get_full_summary(RESULTS[:1]))

    assert summary["is_valid"] is True
    assert summary["system_errors"]["total"] == 0
    assert summary["metrics_including_errors"] == {"accuracy": 1.0, "num_tasks": 1}


def test_no_results_and_only_errors_are_summed_up_too() -> None:
    assert asyncio.run(Accuracy().get_full_summary([]))["num_tasks"] == 0
    only_errors = asyncio.run(Accuracy().get_full_summary(RESULTS[1:4]))
    assert only_errors["is_valid"] is False
    assert only_errors["counts"]["asked"] == 3


def test_an_eval_that_calls_itself_invalid_stays_so() -> None:
    @chz.chz
    class Doubtful(Accuracy):
        async def get_summary(self, results: list[tuple[Task, bool]]) -> dict[str, Any]:
            return {"is_valid": False}

    assert asyncio.run(Doubtful().get_full_summary([]))["is_valid"] is False


def test_counts_of_the_evals_own_summary_are_completed_with_errors() -> None:
    @chz.chz
    class Counting(Accuracy):
        async def get_summary(self, results: list[tuple[Task, bool]]) -> dict[str, Any]:
            return {"counts": {"asked": 2, "refused": 1}}

    counts = asyncio.run(Counting().get_full_summary(RESULTS))["counts"]
    assert counts["asked"] == 5
    assert counts["refused"] == 1
    assert counts["timed_out"] == 1


def test_counts_of_something_else_are_left_alone() -> None:
    @chz.chz
    class Tokens(Accuracy):
        async def get_summary(self, results: list[tuple[Task, bool]]) -> dict[str, Any]:
            return {"counts": {"tokens": "many"}}

    summary = asyncio.run(Tokens().get_full_summary(RESULTS))
    assert summary["counts"] == {"tokens": "many"}
    assert summary["system_errors"]["total"] == 3


def test_results_that_do_not_tell_their_outcome_are_only_counted() -> None:
    results: list[Any] = [(_task("a"), object()), (_task("b"), RolloutSystemError("x"))]

    @chz.chz
    class Opaque(Accuracy):
        async def get_summary(self, results: list[tuple[Task, bool]]) -> dict[str, Any]:
            return {}

    summary = asyncio.run(Opaque().get_full_summary(results))
    assert summary["counts"] == {
        "asked": 2,
        "system_error": 1,
        "grader_error": 0,
        "timed_out": 0,
    }
