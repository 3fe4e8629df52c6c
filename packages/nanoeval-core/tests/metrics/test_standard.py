from __future__ import annotations

import math
import re
from typing import Any

import pytest
from nanoeval_core.errors import SystemErrorsNotSupported
from nanoeval_core.metrics.standard import (
    compute_default_metrics,
    compute_default_metrics_on_correctness_without_answer_groups,
)

SAMPLES = {
    "instance": ["a", "a", "b", "b"],
    "attempt": [1, 2, 1, 2],
    "answer_group_id": ["x", "y", "z", None],
}
CORRECTNESS = {
    "instance": ["a", "a", "b"],
    "answer_group_id": ["x", "y", "z"],
    "is_correct": [True, False, False],
}


def _rows(columns: dict[str, list[Any]]) -> list[dict[str, Any]]:
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _pandas(columns: dict[str, list[Any]]) -> Any:
    return pytest.importorskip("pandas").DataFrame(columns)


def _pandas_indexed(columns: dict[str, list[Any]]) -> Any:
    return _pandas(columns).set_index("instance")


def _polars(columns: dict[str, list[Any]]) -> Any:
    return pytest.importorskip("polars").DataFrame(columns)


def _polars_lazy(columns: dict[str, list[Any]]) -> Any:
    return _polars(columns).lazy()


@pytest.mark.parametrize("table", [dict, _rows, _pandas, _pandas_indexed, _polars, _polars_lazy])
def test_metrics_of_answer_groups_do_not_depend_on_the_kind_of_table(table: Any) -> None:
    metrics = compute_default_metrics(table(SAMPLES), table(CORRECTNESS))

    assert metrics["accuracy"] == 0.25  # instance means 0.5 and 0
    assert metrics["accuracy_stderr"] == pytest.approx(0.25)
    assert metrics["n"] == metrics["accuracy_n"] == 2
    assert metrics["pass@1"] == 0.25
    assert metrics["pass@2"] == 0.5
    assert metrics["pass^2"] == 0.0
    assert metrics["cons@2"] == 0.25  # a tie between x and y at a; z alone votes at b
    assert metrics["cons@2_method"] == "exact"
    assert metrics["counts"]["asked"] == 4
    assert metrics["counts"]["unparsable"] == 1
    assert metrics["counts"]["incorrect"] == 3
    assert metrics["counts"]["answered"] == 3


def test_ragged_attempts_leave_out_what_some_question_cannot_support() -> None:
    metrics = compute_default_metrics_on_correctness_without_answer_groups(
        {"instance": ["a", "a", "b"], "attempt": [1, 2, 1], "is_correct": [True, False, True]}
    )

    assert metrics["accuracy"] == 0.75
    assert "pass@1" in metrics
    assert "pass@2" not in metrics
    assert metrics["unavailable"] == {
        "metrics@k for k > 1": "1 of 2 questions have only 1 attempt(s)"
    }


def test_no_rows_give_no_number() -> None:
    tables: list[Any] = [[], {"instance": [], "attempt": [], "is_correct": []}]
    for table in tables:
        assert compute_default_metrics_on_correctness_without_answer_groups(table) == {}
    metrics = compute_default_metrics({column: [] for column in SAMPLES}, CORRECTNESS)
    assert math.isnan(metrics["accuracy"])
    assert metrics["unavailable"] == {"accuracy": "no results"}
    assert metrics["n"] == 0


def test_one_question_has_no_standard_error_and_says_so() -> None:
    metrics = compute_default_metrics_on_correctness_without_answer_groups(
        [{"instance": "a", "attempt": 1, "is_correct": 1}]
    )

    assert metrics["accuracy"] == 1.0
    assert "accuracy_stderr" not in metrics
    assert "2 independent questions" in metrics["unavailable"]["accuracy_stderr"]
    assert metrics["accuracy_ci95"][1] == 1.0
    assert 0 < metrics["accuracy_ci95"][0] < 0.5


def test_metrics_that_cannot_handle_system_errors_refuse_them() -> None:
    rows = [{"instance": "a", "attempt": 1, "is_correct": True, "system_error": "Boom"}]
    with pytest.raises(SystemErrorsNotSupported, match="get_summary_error_aware"):
        compute_default_metrics_on_correctness_without_answer_groups(rows)


@pytest.mark.parametrize(
    ("samples", "correctness", "message"),
    [
        ({"instance": ["a"]}, CORRECTNESS, "lacks the column(s) ['attempt', 'answer_group_id']"),
        (
            {"instance": ["a"], "attempt": [1], "answer_group_id": ["?"]},
            CORRECTNESS,
            "no row for answer_group_id '?' of instance 'a'",
        ),
        (
            {"instance": ["a:b"], "attempt": [1], "answer_group_id": [None]},
            CORRECTNESS,
            "instance 'a:b' contains ':'",
        ),
        (
            SAMPLES,
            {"instance": ["a"] * 2, "answer_group_id": ["x"] * 2, "is_correct": [True, False]},
            "group 'x' of instance 'a' is both correct and incorrect",
        ),
        (
            SAMPLES,
            {"instance": ["a"], "answer_group_id": ["x"], "is_correct": [0.5]},
            "is_correct=0.5: it must be true or false",
        ),
    ],
)
def test_bad_tables_are_refused_with_the_row(samples: Any, correctness: Any, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        compute_default_metrics(samples, correctness)


def test_rows_of_the_same_attempt_are_attempts_of_their_own() -> None:
    metrics = compute_default_metrics(
        {"instance": ["a", "a", "b"], "attempt": [1, 1, 1], "answer_group_id": ["x", "y", "z"]},
        CORRECTNESS,
    )
    assert metrics["accuracy"] == 0.25
    assert metrics["num_attempts"] == 3


def test_something_that_is_no_table_is_refused() -> None:
    with pytest.raises(TypeError, match="samples_df is a int"):
        compute_default_metrics_on_correctness_without_answer_groups(3)


def test_answer_groups_that_cannot_be_counted_are_refused() -> None:
    samples = [{"instance": "a", "attempt": 1, "answer_group_id": [1, 2]}]
    with pytest.raises(TypeError, match="attempt 1 of instance 'a' has the answer_group_id"):
        compute_default_metrics(samples, CORRECTNESS)


def test_clusters_widen_the_error() -> None:
    rows = [
        {"instance": f"{p}{q}", "attempt": 1, "is_correct": p % 2, "cluster": p}
        for p in range(10)
        for q in range(5)
    ]
    alone = compute_default_metrics_on_correctness_without_answer_groups(
        [{**row, "cluster": None} for row in rows]
    )
    clustered = compute_default_metrics_on_correctness_without_answer_groups(rows)

    assert clustered["accuracy_stderr"] == pytest.approx(math.sqrt(0.25 / 9))
    assert clustered["accuracy_stderr"] > 2 * alone["accuracy_stderr"]
