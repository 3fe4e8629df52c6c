"""The table at the end of a run."""

from __future__ import annotations

from typing import Any

from nanoeval_core.metrics.standard import summarize_results
from nanoeval_core.task import Task
from nanoeval_runner.results import Result, result_lines, results_table


class Subject(Task):
    subject: str


def summary(*subjects: str, **more: Any) -> dict[str, Any]:
    tasks = [Subject(question_id=str(n), subject=name) for n, name in enumerate(subjects)]
    results = [(task, n % 2 == 0) for n, task in enumerate(tasks)]
    return {**summarize_results(results, by=["subject"]), **more}


def result(found: dict[str, Any], **more: Any) -> Result:
    return Result(eval="e", done=4, total=4, seconds=1.0, run_id="R", summary=found, **more)


def test_groups_are_rows_with_error_and_interval() -> None:
    lines = result_lines(result(summary("physics", "biology", "biology", "physics")))
    rows = {line.split("  ")[0]: line.split() for line in lines}
    assert rows["subject=biology"][:4] == ["subject=biology", "0.500", "±", "0.500"]
    assert rows["subject=physics"][4:] == rows["subject=biology"][4:]  # the interval
    assert rows["subject=physics"][-2] == "–"
    assert list(rows).index("accuracy") < list(rows).index("subject=physics")


def test_one_command_comes_next() -> None:
    assert result_lines(result(summary("a")))[-1].endswith("nanoeval show R")
    stopped = result_lines(result(summary("a"), state="stopped"))
    assert not [line for line in stopped if "nanoeval" in line]  # how to go on was said


def test_many_groups_leave_the_table_at_fifteen_lines() -> None:
    lines = result_lines(result(summary(*(f"subject number {n}" for n in range(40)))))
    assert len(lines) <= 15
    assert any(line.startswith("and 3") and line.endswith("more") for line in lines)


def test_what_went_wrong_with_replies_is_told_once() -> None:
    refused = {"counts": {"refused": 3, "unparsable": 2}, "num_content_policy": 3}
    lines = result_lines(result(summary("a", "b", **refused)))
    assert "replies: 2 unparsable, 3 refused (content policy)" in lines
    mixed = {**refused, "num_content_policy": 2, "num_context_length": 1, "num_unparsable": 2}
    lines = result_lines(result(summary("a", "b", **mixed)))
    (replies,) = (line for line in lines if line.startswith("replies"))
    assert replies.startswith("replies: 2 unparsable, 3 refused, ")
    assert "2 content policy" in replies
    assert not any("replies" in line for line in result_lines(result(summary("a", "b"))))


def test_lost_tasks_are_in_the_last_line_with_the_most_frequent_error() -> None:
    lost = result(summary("a", "b"), errors={"OSError: no route": 2, "TimeoutError: late": 1})
    assert result_lines(lost)[-1] == "3 tasks lost: the score is of 1; OSError: no route (2 times)"


def test_several_runs_are_a_row_each() -> None:
    lines = results_table([result(summary("a", "b")), result(summary("c", "d"))])
    assert len(lines) == 4
    assert lines[-1].startswith("next: ")


def test_of_several_runs_those_that_measured_nothing_say_why_at_the_end() -> None:
    fine = result(summary("a", "b"))
    nothing = result({}, errors={"OSError: no route": 3, "TimeoutError: late": 1})
    lines = results_table([nothing, fine])
    told = "e: 4 tasks lost: nothing was measured; OSError: no route (3 times)"
    assert lines[-2].startswith("next: ")
    assert lines[-1] == told
    many = results_table([nothing] * 40)
    assert len(many) <= 16
    assert many[-3:] == [told] * 3
