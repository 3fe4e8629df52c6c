"""What became of each attempt: the counts that come with every number."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence, Set
from enum import StrEnum
from typing import Any

from nanoeval_core.errors import GraderError, RolloutSystemError, TaskTimeoutError


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


_NOT_SCORED = frozenset({Outcome.SYSTEM_ERROR, Outcome.GRADER_ERROR, Outcome.TIMED_OUT})


@dataclasses.dataclass(slots=True)
class Counts:
    """How many attempts ended how.

    `asked = correct + incorrect + system_error + grader_error + timed_out`. An unparsable reply
    and a refusal are incorrect, so `unparsable` and `refused` are parts of `incorrect`, and
    `answered = correct + incorrect - unparsable - refused`.
    """

    correct: int = 0
    incorrect: int = 0
    unparsable: int = 0
    refused: int = 0
    system_error: int = 0
    grader_error: int = 0
    timed_out: int = 0

    @property
    def asked(self) -> int:
        errors = self.system_error + self.grader_error + self.timed_out
        return self.correct + self.incorrect + errors

    @property
    def answered(self) -> int:
        return self.correct + self.incorrect - self.unparsable - self.refused

    def add(self, outcome: Outcome, number: int = 1) -> None:
        """Count `number` attempts that ended in `outcome`."""
        setattr(self, outcome, getattr(self, outcome) + number)
        if outcome in (Outcome.UNPARSABLE, Outcome.REFUSED):
            self.incorrect += number

    def as_dict(self) -> dict[str, int]:
        """Return all counts, zeros included: asked and answered, then the fields."""
        return {"asked": self.asked, "answered": self.answered, **dataclasses.asdict(self)}


def count_outcomes(numbers: Mapping[Outcome, int]) -> Counts:
    """Return the counts, given how many attempts ended in each outcome."""
    counts = Counts()
    for outcome, number in numbers.items():
        counts.add(outcome, number)
    return counts


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
    errors: Sequence[tuple[Hashable, RolloutSystemError]], instances_left: Set[Hashable]
) -> dict[str, Any]:
    """Return how many system errors there are, of which types, and which questions they took.

    Args:
        errors: question id and error, one per lost attempt.
        instances_left: ids of the questions that kept at least one attempt.
    """
    affected: set[Hashable] = set()
    types: Counter[str] = Counter()
    for instance, error in errors:
        affected.add(instance)
        types[type(error).__name__] += 1
    return {
        "total": len(errors),
        "by_type": dict(types.most_common()),
        "instances_affected": len(affected),
        "instances_lost": len(affected - instances_left),
    }


def total_counts(
    counted: Any, valid: Sequence[Any], errors: Sequence[RolloutSystemError]
) -> dict[str, Any]:
    """Return the counts of all attempts.

    Args:
        counted: the `counts` of a summary of the `valid` ones, or None. When they are not ours
            (see `Counts`), they are returned as they are: the eval has its own name for them.
        valid: results of attempts that ended without a system error; they may tell their outcome.
        errors: the others.
    """
    if counted is not None and not _are_ours(counted):
        kept: dict[str, Any] = counted
        return kept
    failed = Counts()
    for error in errors:
        failed.add(outcome_of_error(error))
    lost = failed.as_dict()
    counted = _count_results(valid) if counted is None else counted
    if counted is None:
        known = ("asked", "system_error", "grader_error", "timed_out")
        return {**{name: lost[name] for name in known}, "asked": len(valid) + len(errors)}
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


__all__ = [
    "Counts",
    "Outcome",
    "count_outcomes",
    "describe_system_errors",
    "outcome_of",
    "outcome_of_error",
    "total_counts",
]
