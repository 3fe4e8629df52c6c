"""Summaries of results that hold system errors: kept out of the score, never out of sight."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence, Set
from typing import Any

from nanoeval_core.errors import RolloutSystemError
from nanoeval_core.eval import Eval, overrides
from nanoeval_core.metrics.outcomes import Counts, outcome_of, outcome_of_error
from nanoeval_core.task import TResult, TTask


async def get_summary_error_aware(
    eval: Eval[TTask, TResult],
    results: Sequence[tuple[TTask, TResult | RolloutSystemError]],
) -> dict[str, Any]:
    """`eval.get_summary` of the results that are no system errors, and what to know beside it.

    Adds to that summary:

    - `num_tasks`: how many results there are, system errors included;
    - `is_valid`: False when any of them is a system error, since every metric then lacks it
      (or when the eval's own summary says False);
    - `system_errors`: `total`, `by_type` (class name → count, most frequent first),
      `instances_affected` (questions that lost an attempt) and `instances_lost` (questions that
      lost all their attempts);
    - `counts`: see `nanoeval_core.metrics.outcomes.Counts`. Taken from the eval's summary when it
      has them, else read from results that tell their outcome; system errors are added. When
      neither tells, only `asked` and the kinds of error are known and given. An eval whose
      summary has other `counts` keeps them;
    - `metrics_including_errors`, when `process_invalid` is overridden: the summary with each
      system error replaced by `eval.process_invalid(task)`.
    """
    valid: list[tuple[TTask, TResult]] = []
    errors: list[tuple[TTask, RolloutSystemError]] = []
    for task, result in results:
        if isinstance(result, RolloutSystemError):
            errors.append((task, result))
        else:
            valid.append((task, result))

    metrics = await eval.get_summary(valid)
    summary = {
        **metrics,
        "num_tasks": len(results),
        "is_valid": not errors and metrics.get("is_valid") is not False,
        "system_errors": describe_system_errors(
            [(task.question_id, error) for task, error in errors],
            {task.question_id for task, _ in valid},
        ),
        "counts": _counts(metrics, [result for _, result in valid], [error for _, error in errors]),
    }
    if overrides(eval, "process_invalid"):
        summary["metrics_including_errors"] = (
            await eval.get_summary(_with_failures(eval, results)) if errors else dict(metrics)
        )
    return summary


def describe_system_errors(
    errors: Sequence[tuple[Hashable, RolloutSystemError | str]], instances_left: Set[Hashable]
) -> dict[str, Any]:
    """How many system errors there are, of which types, and which questions they took.

    Args:
        errors: question id and error (or the name of its type), one per lost attempt.
        instances_left: ids of the questions that kept at least one attempt.
    """
    affected = {instance for instance, _ in errors}
    types = Counter(
        error if isinstance(error, str) else type(error).__name__ for _, error in errors
    )
    return {
        "total": len(errors),
        "by_type": dict(types.most_common()),
        "instances_affected": len(affected),
        "instances_lost": len(affected - instances_left),
    }


def _with_failures(
    eval: Eval[TTask, TResult], results: Sequence[tuple[TTask, TResult | RolloutSystemError]]
) -> list[tuple[TTask, TResult]]:
    return [
        (task, eval.process_invalid(task) if isinstance(result, RolloutSystemError) else result)
        for task, result in results
    ]


def _counts(
    metrics: dict[str, Any], valid: Sequence[Any], errors: Sequence[RolloutSystemError]
) -> Any:
    counted = metrics.get("counts")
    if counted is not None and not _are_ours(counted):
        return counted  # the eval counts something else, and has its own name for it
    failed = Counts()
    for error in errors:
        failed.add(outcome_of_error(error))
    counted = _count_results(valid) if counted is None else counted
    if counted is None:
        known = ("asked", "system_error", "grader_error", "timed_out")
        counts = failed.as_dict()
        return {**{name: counts[name] for name in known}, "asked": len(valid) + len(errors)}
    lost = failed.as_dict()
    return {name: counted.get(name, 0) + lost.get(name, 0) for name in {**counted, **lost}}


def _are_ours(counts: Any) -> bool:
    return (
        isinstance(counts, dict)
        and "asked" in counts
        and all(isinstance(number, int) for number in counts.values())
    )


def _count_results(results: Sequence[Any]) -> dict[str, int] | None:
    counts = Counts()
    for result in results:
        outcome = outcome_of(result)
        if outcome is None:
            return None
        counts.add(outcome)
    return counts.as_dict()
