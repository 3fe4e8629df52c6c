from __future__ import annotations

from typing import Any

import pytest
from nanoeval_core import Task
from nanoeval_core.metrics.breakdown import breakdown
from nanoeval_core.metrics.standard import (
    compute_default_metrics_on_correctness_without_answer_groups,
)
from pydantic import Field


class Question(Task):
    subject: str | None = None
    tags: list[str] = Field(default_factory=list)
    metadata: dict[str, Any] = Field(default_factory=dict)


RESULTS = [
    (Question(question_id="1", subject="maths", tags=["hard", "long"], metadata={"year": 1999}), 1),
    (Question(question_id="2", subject="maths", tags=["hard"]), 0),
    (Question(question_id="3"), 1),
]


def _total(results: list[tuple[Question, int]]) -> tuple[int, int]:
    return sum(result for _, result in results), len(results)


def test_results_are_grouped_by_any_field_of_the_task() -> None:
    assert breakdown(RESULTS, "subject", _total) == {"(none)": (1, 1), "maths": (1, 2)}
    assert breakdown(RESULTS, "metadata.year", _total) == {"(none)": (1, 2), "1999": (1, 1)}
    assert breakdown([], "subject", _total) == {}


def test_a_task_with_tags_counts_in_each() -> None:
    groups = breakdown(RESULTS, "tags", _total)
    assert groups == {"(none)": (1, 1), "hard": (1, 2), "long": (1, 1)}


def test_a_field_that_no_task_has_is_refused_with_those_there_are() -> None:
    with pytest.raises(
        ValueError, match=r"no task has a field 'topic'; the first, '1\.1', has .*subject"
    ):
        breakdown(RESULTS, "topic", _total)


def test_default_metrics_by_column() -> None:
    rows = [
        {"instance": "1", "attempt": 1, "is_correct": True, "subject": "maths"},
        {"instance": "2", "attempt": 1, "is_correct": False, "subject": "law"},
        {"instance": "3", "attempt": 1, "is_correct": True, "subject": "law"},
    ]
    metrics = compute_default_metrics_on_correctness_without_answer_groups(rows, by=["subject"])
    assert metrics["accuracy"] == pytest.approx(2 / 3)
    assert metrics["by"]["subject"]["law"]["accuracy"] == 0.5
    assert metrics["by"]["subject"]["law"]["counts"]["asked"] == 2
    assert metrics["by"]["subject"]["maths"]["n"] == 1

    with pytest.raises(TypeError, match="give a list of columns"):
        compute_default_metrics_on_correctness_without_answer_groups(rows, by="subject")
