"""The summary of attempts that are right, wrong, or lost to a system error."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

from nanoeval_core.errors import RolloutSystemError
from nanoeval_core.metrics.standard import (
    compute_default_metrics_on_correctness_without_answer_groups,
)
from nanoeval_core.task import Task


def get_summary_error_aware(
    results: Sequence[tuple[Task, bool | RolloutSystemError]],
) -> dict[str, Any]:
    """Sum up whether each attempt was right, with system errors left out, and counted as wrong.

    Returns:
        Nothing without results, else the default metrics of the attempts without system error
        (`accuracy` is NaN without any), and

        - `aggregations`: their numbers, `num_tasks` (questions), `num_attempts`, `num_correct`,
          `num_incorrect`, `num_system_error` (0) and `error_breakdown` (empty);
        - `metrics_including_errors`: default metrics and `aggregations` of all attempts, system
          errors wrong; `error_breakdown` counts them by their text;
        - `missing_tasks`: questions all of whose attempts were lost;
        - `is_valid`: False when any attempt was lost.
    """
    if not results:
        return {}
    scored = [(task, result) for task, result in results if not _is_error(result)]
    left = {task.question_id for task, _ in scored}
    asked = dict.fromkeys(task.question_id for task, _ in results)
    return {
        **_metrics(scored),
        "metrics_including_errors": _metrics(results),
        "missing_tasks": [question for question in asked if question not in left],
        "is_valid": len(scored) == len(results),
    }


def _metrics(results: Sequence[tuple[Task, bool | RolloutSystemError]]) -> dict[str, Any]:
    correct = [not _is_error(result) and bool(result) for _, result in results]
    errors = Counter(str(result) for _, result in results if _is_error(result))
    metrics = compute_default_metrics_on_correctness_without_answer_groups(
        {
            "instance": [task.question_id for task, _ in results],
            "attempt": [task.attempt_id for task, _ in results],
            "is_correct": correct,
        }
    )
    return {
        **(metrics or {"accuracy": math.nan}),
        "aggregations": {
            "num_tasks": len({task.question_id for task, _ in results}),
            "num_attempts": len(results),
            "num_correct": sum(correct),
            "num_incorrect": len(results) - sum(correct) - errors.total(),
            "num_system_error": errors.total(),
            "error_breakdown": dict(errors),
        },
    }


def _is_error(result: object) -> bool:
    return isinstance(result, RolloutSystemError)


__all__ = ["get_summary_error_aware"]
