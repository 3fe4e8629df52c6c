"""Summaries of a run in progress, at a cost that does not grow with the results so far."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable
from typing import Any

from nanoeval_core.errors import RolloutSystemError
from nanoeval_core.metrics._binary_totals import BinaryTotals
from nanoeval_core.metrics._score_totals import ScoreTotals
from nanoeval_core.metrics.at_k import at_k_metrics
from nanoeval_core.metrics.clustered_mean import MeanEstimate
from nanoeval_core.metrics.outcomes import Counts, Outcome, count_outcomes, outcome_of_error
from nanoeval_core.metrics.variance_split import VarianceSplit, describe_power, split_variance


class Accumulator:
    """Accuracy and what is reported with it, kept up to date result by result.

    Adding a result takes constant time. A summary of right and wrong attempts at independent
    questions takes a time that depends on how many different (attempts, correct attempts) occur,
    not on how many questions there are; other scores are summed up question by question.

        totals = Accumulator()
        totals.add("question-1", True)
        totals.add("question-1", False)
        totals.add_error("question-2", RolloutSystemError("outage"))
        totals.summary()["accuracy"]  # 0.5

    Add each attempt once: attempts are not remembered, so a duplicate goes unnoticed. For use in an
    eval see `nanoeval.metrics.running_summary`.

    Attributes:
        confidence: of the intervals.
    """

    def __init__(self, *, confidence: float = 0.95) -> None:
        self.confidence = confidence
        self._totals: BinaryTotals | ScoreTotals = BinaryTotals()
        self._outcomes: dict[Outcome, int] = dict.fromkeys(Outcome, 0)
        self._errors: Counter[str] = Counter()
        self._affected: set[Hashable] = set()
        self._num_lost = 0  # questions that have errors only

    def add(
        self,
        question_id: Hashable,
        score: float,
        *,
        outcome: Outcome | None = None,
        cluster: Hashable | None = None,
    ) -> None:
        """Add one scored attempt.

        Args:
            question_id: the question; attempts at different questions may come in any order.
            score: a bool, or a finite number.
            outcome: what became of the attempt; by default correct if `score` is 1, else
                incorrect. With an error's outcome the attempt is counted there and scored all the
                same: that is how errors are counted as failures.
            cluster: questions with the same cluster are not independent.

        Raises:
            ValueError: `score` is not finite, or `cluster` differs from that of the question's
                earlier attempts.
        """
        value = float(score)
        if value - value != 0.0:
            raise ValueError(f"question {question_id!r} has a score that is not finite: {score!r}")
        if self._affected and question_id in self._affected and question_id not in self._totals:
            self._num_lost -= 1
        totals = self._totals
        if isinstance(totals, BinaryTotals):
            if cluster is None and value in (0.0, 1.0):
                totals.add(question_id, value == 1.0)
            else:  # at most once, mostly at the first attempt
                self._totals = totals = _as_score_totals(totals)
        if isinstance(totals, ScoreTotals):
            totals.add(question_id, value, cluster)
        if outcome is None:
            outcome = Outcome.CORRECT if value == 1.0 else Outcome.INCORRECT
        self._outcomes[outcome] += 1

    def add_error(self, question_id: Hashable, error: RolloutSystemError) -> None:
        """Add an attempt that ended in a system error: counted, not scored."""
        self._outcomes[outcome_of_error(error)] += 1
        self._errors[type(error).__name__] += 1
        if question_id not in self._affected:
            self._affected.add(question_id)
            self._num_lost += question_id not in self._totals

    @property
    def counts(self) -> Counts:
        """How many attempts ended how."""
        return count_outcomes(self._outcomes)

    @property
    def mean(self) -> float | None:
        """The mean of the per-question means, None without any: for a progress bar."""
        return self._totals.mean if self._totals.n else None

    def estimate(self) -> MeanEstimate:
        """Return what `nanoeval.metrics.clustered_mean.clustered_mean` says of these scores."""
        return self._totals.estimate(self.confidence)

    def variance_split(self) -> VarianceSplit | None:
        """Return what `nanoeval.metrics.variance_split.split_variance` says of these scores."""
        return split_variance(self._totals.kinds())

    def metrics(self) -> dict[str, Any]:
        """Return what is known about the attempts that have a score.

        `n` (questions), `num_attempts`, `attempts_per_question` (fewest and most), `accuracy` with
        `_stderr`, `_ci95` and `_n`; `pass@k` and `pass^k` (see `at_k_metrics`) when scores are all
        0 or 1 and questions are independent; `variance` (`between_questions`, `within_questions`)
        when attempts are repeated; `power` (see `describe_power`); `counts`; and `unavailable`,
        which says why what one might look for is missing.
        """
        totals, estimate = self._totals, self.estimate()
        kinds = totals.kinds()
        metrics: dict[str, Any] = {"n": totals.n, "num_attempts": totals.num_scores}
        metrics |= estimate.as_dict("accuracy")
        unavailable: dict[str, str] = {}
        if estimate.why:
            unavailable["accuracy" if estimate.mean is None else "accuracy_stderr"] = estimate.why
        if totals.n:
            attempts: Counter[int] = Counter()
            for kind in kinds:
                attempts[kind.attempts] += kind.number
            fewest, most = min(attempts), max(attempts)
            metrics["attempts_per_question"] = [fewest, most]
            if isinstance(totals, BinaryTotals):
                metrics |= at_k_metrics(totals.tallies, confidence=self.confidence)
            if most > fewest:
                unavailable[f"metrics@k for k > {fewest}"] = (
                    f"{attempts[fewest]} of {totals.n} questions have only {fewest} attempt(s)"
                )
        split = split_variance(kinds)
        if split is not None:
            metrics["variance"] = {
                "between_questions": split.between,
                "within_questions": split.within,
            }
        power = describe_power(estimate, split)
        if power:
            metrics["power"] = power
        return {**metrics, "counts": self.counts.as_dict(), "unavailable": unavailable}

    def summary(self) -> dict[str, Any]:
        """Return `metrics()`, `num_tasks`, `is_valid` and `system_errors`.

        These are what `nanoeval.metrics.standard.handle_system_errors_and_compute_metrics` adds.
        """
        return {
            **self.metrics(),
            "num_tasks": self.counts.asked,
            "is_valid": not self._errors,
            "system_errors": {
                "total": self._errors.total(),
                "by_type": dict(self._errors.most_common()),
                "instances_affected": len(self._affected),
                "instances_lost": self._num_lost,
            },
        }


def _as_score_totals(totals: BinaryTotals) -> ScoreTotals:
    general = ScoreTotals()
    for question_id, score in totals.scores():
        general.add(question_id, score, None)
    return general


__all__ = ["Accumulator"]
