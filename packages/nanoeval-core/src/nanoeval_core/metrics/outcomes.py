"""What became of each attempt: the counts that come with every number, system errors among them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence, Set
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from nanoeval_core.errors import GraderError, RolloutSystemError, TaskTimeoutError

if TYPE_CHECKING:  # pydantic, which tables of runs do without
    from nanoeval_core.task import TResult, TTask


class Outcome(StrEnum):
    """What became of one attempt. Exactly one of these is true of it."""

    CORRECT = "correct"
    INCORRECT = "incorrect"
    UNPARSABLE = "unparsable"
    REFUSED = "refused"
    SYSTEM_ERROR = "system_error"
    GRADER_ERROR = "grader_error"
    TIMED_OUT = "timed_out"

    @property
    def is_scored(self) -> bool:
        """Whether the attempt says something about the model: it is no kind of system error."""
        return self not in _NOT_SCORED


_NOT_SCORED = (Outcome.SYSTEM_ERROR, Outcome.GRADER_ERROR, Outcome.TIMED_OUT)


def count_outcomes(numbers: Mapping[Outcome, int]) -> dict[str, int]:
    """Return how many attempts were asked, were answered and ended how, zeros included.

    `asked = correct + incorrect + system_error + grader_error + timed_out`. An unparsable reply
    and a refusal are incorrect, so `unparsable` and `refused` are parts of `incorrect`, and
    `answered = correct + incorrect - unparsable - refused`.

    Args:
        numbers: how many attempts ended in each outcome.
    """
    counts = dict.fromkeys(map(str, Outcome), 0)
    for outcome, number in numbers.items():
        counts[outcome] = number
    answered = counts["correct"] + counts["incorrect"]
    counts["incorrect"] += counts["unparsable"] + counts["refused"]
    return {"asked": sum(numbers.values()), "answered": answered, **counts}


def outcome_of(result: Any) -> Outcome | None:
    """Return what a task's result says became of the attempt, or None when it does not say.

    Knows system errors; bools; and results (objects or mappings) with an `outcome`, or with a
    bool `is_correct` or `correct`.
    """
    if isinstance(result, RolloutSystemError):
        return outcome_of_error(result)
    if isinstance(result, bool):
        return Outcome.CORRECT if result else Outcome.INCORRECT
    for field in ("outcome", "is_correct", "correct"):
        value = result.get(field) if isinstance(result, dict) else getattr(result, field, None)
        if field == "outcome" and isinstance(value, str) and value in _OUTCOMES:
            return Outcome(value)
        if field != "outcome" and isinstance(value, bool):
            return Outcome.CORRECT if value else Outcome.INCORRECT
    return None


_OUTCOMES = frozenset(Outcome)


def outcome_of_error(error: RolloutSystemError) -> Outcome:
    if isinstance(error, TaskTimeoutError):
        return Outcome.TIMED_OUT
    if isinstance(error, GraderError):
        return Outcome.GRADER_ERROR
    return Outcome.SYSTEM_ERROR


def describe_system_errors(
    types: Counter[str], affected: Set[Hashable], scored: Set[Hashable]
) -> dict[str, Any]:
    """Return how many system errors there are, of which types, and which questions they took.

    Args:
        types: how many lost attempts ended in an error of each type.
        affected: ids of their questions.
        scored: ids of the questions that kept at least one attempt.
    """
    return {
        "total": types.total(),
        "by_type": dict(types.most_common()),
        "instances_affected": len(affected),
        "instances_lost": len(affected - scored),
    }


def _total_counts(counted: Any, valid: Sequence[Any], errors: Sequence[RolloutSystemError]) -> Any:
    """Return the counts of all attempts; `counted` are those of a summary of `valid`, or None."""
    lost = count_outcomes(Counter(map(outcome_of_error, errors)))
    if counted is None:
        outcomes = list(map(outcome_of, valid))
        if None in outcomes:
            known = {str(kind): lost[kind] for kind in _NOT_SCORED}
            return {"asked": len(valid) + len(errors), **known}
        counted = count_outcomes(Counter(filter(None, outcomes)))
    is_ours = isinstance(counted, dict) and "asked" in counted
    if not (is_ours and all(isinstance(number, int) for number in counted.values())):
        return counted  # the eval names them itself
    return {name: counted.get(name, 0) + lost.get(name, 0) for name in {**counted, **lost}}


async def handle_system_errors_and_compute_metrics(
    metrics_fn: Callable[[list[tuple[TTask, TResult]]], Awaitable[dict[str, Any]]],
    results: Sequence[tuple[TTask, TResult | RolloutSystemError]],
    process_invalid: Callable[[TTask], TResult],
) -> dict[str, Any]:
    """Return the metrics of results that are no system errors, and what to know of the others.

    Args:
        metrics_fn: an eval's `get_summary`, or the like.
        results: with system errors among them.
        process_invalid: the result that stands for a task that was lost. Raises
            NotImplementedError where nothing can.

    Returns:
        What `metrics_fn` says of the results without system errors, and

        - `num_tasks`: questions that have such a result;
        - `is_valid`: False when any attempt was lost, since every metric then lacks it (or when
          `metrics_fn` says False);
        - `metrics_including_errors`, when there is no system error or each can be replaced, and
          no result is None: the metrics with the substitutes counted, and `num_tasks` of all
          questions;
        - `system_errors`: `total`, `by_type` (class name → count, most frequent first),
          `instances_affected` (questions that lost an attempt) and `instances_lost` (questions
          that lost all their attempts);
        - `counts`: see `nanoeval.metrics.outcomes.count_outcomes`. Taken from the metrics when they
          have them, else read from results that tell their outcome; system errors are added. When
          neither tells, only `asked` and the kinds of error are known and given. Other `counts`
          of `metrics_fn` are kept.
    """
    valid: list[tuple[TTask, TResult]] = []
    values: list[TResult] = []
    errors: list[RolloutSystemError] = []
    types: Counter[str] = Counter()
    scored: set[str] = set()
    affected: set[str] = set()
    for task, result in results:
        if isinstance(result, RolloutSystemError):
            errors.append(result)
            types[type(result).__name__] += 1
            affected.add(task.question_id)
        else:
            valid.append((task, result))
            values.append(result)
            scored.add(task.question_id)
    metrics = await metrics_fn(valid)
    summary = {
        **metrics,
        "num_tasks": len(scored),
        "is_valid": not errors and metrics.get("is_valid") is not False,
        "system_errors": describe_system_errors(types, affected, scored),
        "counts": _total_counts(metrics.get("counts"), values, errors),
    }
    replaced: list[tuple[TTask, TResult]] = []
    for task, result in results:
        try:
            kept = process_invalid(task) if isinstance(result, RolloutSystemError) else result
        except NotImplementedError:
            return summary
        if kept is None:
            return summary
        replaced.append((task, kept))
    summary["metrics_including_errors"] = {
        **(await metrics_fn(replaced) if errors else metrics),
        "num_tasks": len(scored | affected),
    }
    return summary


__all__ = [
    "Outcome",
    "count_outcomes",
    "describe_system_errors",
    "handle_system_errors_and_compute_metrics",
    "outcome_of",
    "outcome_of_error",
]
