"""Summaries of a run in progress, at a cost that does not grow with the results so far."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Hashable, Mapping
from typing import Any

from nanoeval_core.errors import RolloutSystemError
from nanoeval_core.metrics.at_k import estimators
from nanoeval_core.metrics.clustered_mean import MeanEstimate, estimate_values
from nanoeval_core.metrics.outcomes import (
    Outcome,
    count_outcomes,
    describe_system_errors,
    outcome_of_error,
)
from nanoeval_core.metrics.variance_split import (
    QuestionKind,
    VarianceSplit,
    describe_power,
    split_variance,
)


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
        self._questions: dict[Hashable, QuestionKind] = {}
        self._kinds: dict[QuestionKind, int] = {}  # how many questions are of each
        self._clusters: dict[Hashable, Hashable | None] | None = None  # once there is one
        self._num_scores = 0
        self._binary = self._bounded = True
        self._outcomes: Counter[Outcome] = Counter()
        self._errors: Counter[str] = Counter()
        self._affected: set[Hashable] = set()

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
        if value in (0.0, 1.0):
            value = int(value)  # so that totals count what is right
        else:
            self._binary = False
            self._bounded = self._bounded and 0.0 < value < 1.0
        if cluster is not None or self._clusters is not None:
            self._check_cluster(question_id, cluster)
        old = self._questions.get(question_id)
        if old is None:
            new = (1, value, 0.0)
        else:
            attempts, total, residuals = old
            above = value - total / attempts  # Welford (1962): sums of squares would lose digits
            residuals += above * above * attempts / (attempts + 1)
            attempts, total = attempts + 1, total + value
            if self._binary:  # exactly, whatever their order was: such questions are of one kind
                residuals = total * (attempts - total) / attempts
            new = attempts, total, residuals
            self._kinds[old] -= 1
            if not self._kinds[old]:
                del self._kinds[old]
        self._questions[question_id] = new
        self._kinds[new] = self._kinds.get(new, 0) + 1
        self._num_scores += 1
        if outcome is None:
            outcome = Outcome.CORRECT if value == 1.0 else Outcome.INCORRECT
        self._outcomes[outcome] += 1

    def _check_cluster(self, question_id: Hashable, cluster: Hashable | None) -> None:
        if self._clusters is None:
            self._clusters = dict.fromkeys(self._questions)
        known = self._clusters.setdefault(question_id, cluster)
        if known != cluster:
            raise ValueError(
                f"question {question_id!r} is in different clusters: {known!r} and {cluster!r}"
            )

    def add_error(self, question_id: Hashable, error: RolloutSystemError) -> None:
        """Add an attempt that ended in a system error: counted, not scored."""
        self._outcomes[outcome_of_error(error)] += 1
        self._errors[type(error).__name__] += 1
        self._affected.add(question_id)

    @property
    def mean(self) -> float | None:
        """The mean of the per-question means, None without any: for a progress bar."""
        if not self._questions:
            return None
        means = (total / n * number for (n, total, _), number in self._kinds.items())
        return math.fsum(means) / len(self._questions)

    @property
    def clusters(self) -> Mapping[Hashable, Hashable] | None:
        """Each question's cluster, if any has one; the others are each alone in their own."""
        if self._clusters is None:
            return None
        return {q: ("alone", q) if c is None else (c,) for q, c in self._clusters.items()}

    def estimate(self) -> MeanEstimate:
        """Return what `nanoeval.metrics.clustered_mean.clustered_mean` says of these scores."""
        return self._mean_of(
            lambda attempts, total: total / attempts,
            num_scores=self._num_scores,
            bounded=self._bounded,
            plain=self._binary and self._num_scores == len(self._questions),
        )

    def _mean_of(self, value: Callable[[int, float], float], **known: Any) -> MeanEstimate:
        """Return the mean over questions of `value`, given their attempts and the total score."""
        clusters = self.clusters
        kinds = (
            self._kinds.items() if clusters is None else [(k, 1) for k in self._questions.values()]
        )
        return estimate_values(
            [(value(attempts, total), number) for (attempts, total, _), number in kinds],
            clusters=None if clusters is None else [*clusters.values()],
            confidence=self.confidence,
            **known,
        )

    def variance_split(self) -> VarianceSplit | None:
        """Return what `nanoeval.metrics.variance_split.split_variance` says of these scores."""
        return split_variance(self._kinds)

    def metrics(self) -> dict[str, Any]:
        """Return what is known about the attempts that have a score.

        `n` (questions), `num_attempts`, `attempts_per_question` (fewest and most), `accuracy` with
        `_stderr`, `_ci95` and `_n`; `pass@k` and `pass^k` likewise when scores are all 0 or 1;
        `variance` (`between_questions`, `within_questions`) when attempts are repeated; `power`
        (see `describe_power`); `counts`; and `unavailable`, which says why what one might look for
        is missing.
        """
        n, estimate = len(self._questions), self.estimate()
        metrics: dict[str, Any] = {"n": n, "num_attempts": self._num_scores}
        metrics |= estimate.as_dict("accuracy")
        unavailable: dict[str, str] = {}
        if estimate.why:
            unavailable["accuracy" if estimate.mean is None else "accuracy_stderr"] = estimate.why
        if n:
            attempts: Counter[int] = Counter()
            for kind, number in self._kinds.items():
                attempts[kind[0]] += number
            fewest, most = min(attempts), max(attempts)
            metrics["attempts_per_question"] = [fewest, most]
            for name, estimator in estimators(fewest).items() if self._binary else ():
                of_all = self._mean_of(estimator, num_scores=n, bounded=True, plain=most == 1)
                metrics |= of_all.as_dict(name)
            if most > fewest:
                unavailable[f"metrics@k for k > {fewest}"] = (
                    f"{attempts[fewest]} of {n} questions have only {fewest} attempt(s)"
                )
        split = self.variance_split()
        if split is not None:
            metrics["variance"] = {
                "between_questions": split.between,
                "within_questions": split.within,
            }
        power = describe_power(estimate, split)
        if power:
            metrics["power"] = power
        return {**metrics, "counts": count_outcomes(self._outcomes), "unavailable": unavailable}

    def summary(self) -> dict[str, Any]:
        """Return `metrics()`, `num_tasks`, `is_valid` and `system_errors`.

        These are what `nanoeval.metrics.standard.handle_system_errors_and_compute_metrics` adds.
        """
        return {
            **self.metrics(),
            "num_tasks": self._outcomes.total(),
            "is_valid": not self._errors,
            "system_errors": describe_system_errors(
                self._errors, self._affected, self._questions.keys()
            ),
        }


__all__ = ["Accumulator"]
