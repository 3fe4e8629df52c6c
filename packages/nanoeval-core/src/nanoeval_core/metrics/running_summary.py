"""Summaries during a run that stay cheap however many results there are.

An eval whose results have a score says so in one method:

    class Arithmetic(Eval[Question, Answer]):
        def running_summary(self) -> RunningAccuracy:
            return RunningAccuracy(score=lambda task, answer: answer.is_correct)

The runner then adds each result once and shows `summary()` every `summary_interval`.
An eval that gets all results so far instead, in `update_progress`, can keep one of these and call
`catch_up`, which looks only at results it has not seen.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any

from nanoeval_core.errors import RolloutSystemError
from nanoeval_core.metrics.accumulator import Accumulator
from nanoeval_core.metrics.outcomes import Outcome, outcome_of


class RunningAccuracy:
    """A `RunningSummary` (see `nanoeval.eval`) of an eval whose results have a score.

    Args:
        score: what a task's result scores: a bool, or a finite number. Not called on system
            errors.
        outcome: what became of the attempt; by default what `outcome_of` tells from the result.
        cluster: which tasks are not independent (`lambda task: task.passage_id`).
        confidence: of the intervals.
    """

    def __init__(
        self,
        score: Callable[[Any, Any], float],
        *,
        outcome: Callable[[Any, Any], Outcome | None] | None = None,
        cluster: Callable[[Any], Hashable] | None = None,
        confidence: float = 0.95,
    ) -> None:
        self.totals = Accumulator(confidence=confidence)
        self._score = score
        self._outcome = outcome
        self._cluster = cluster
        self._seen = 0
        self._last: Any = None

    def add(self, task: Any, result: Any) -> None:
        if isinstance(result, RolloutSystemError):
            self.totals.add_error(task.question_id, result)
            return
        self.totals.add(
            task.question_id,
            self._score(task, result),
            outcome=outcome_of(result) if self._outcome is None else self._outcome(task, result),
            cluster=None if self._cluster is None else self._cluster(task),
        )

    def catch_up(self, results: Sequence[tuple[Any, Any]]) -> RunningAccuracy:
        """Add those of `results` that are new since the last call, and return this object.

        Args:
            results: all `(task, result)` so far, each call's beginning with those of the call
                before, in the same order. When they do not, everything is counted again.
        """
        known = 0 < self._seen <= len(results) and results[self._seen - 1][0] is self._last
        if not known and self._seen:
            self.totals = Accumulator(confidence=self.totals.confidence)
            self._seen = 0
        for task, result in results[self._seen :]:
            self.add(task, result)
        if results:
            self._seen, self._last = len(results), results[-1][0]
        return self

    @property
    def mean(self) -> float | None:
        """The accuracy so far, None before the first result."""
        return self.totals.mean

    def summary(self) -> dict[str, Any]:
        """Return what `Accumulator.summary` says of the results so far."""
        return self.totals.summary()


__all__ = ["RunningAccuracy"]
