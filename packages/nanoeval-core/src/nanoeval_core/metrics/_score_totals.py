"""Scores by question: how many, their mean, and how they vary around it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable

from nanoeval_core.metrics.cluster_variance import ClusterSize, cluster_sizes
from nanoeval_core.metrics.variance_split import VarianceSplit, split_from_moments


class _Question:
    """A question's scores so far (Welford 1962): exact where sums of squares lose digits."""

    __slots__ = ("attempts", "mean", "residuals")

    def __init__(self) -> None:
        self.attempts = 0
        self.mean = 0.0
        self.residuals = 0.0  # Σ (score - mean)²

    def add(self, score: float) -> None:
        self.attempts += 1
        above = score - self.mean
        self.mean += above / self.attempts
        self.residuals += above * (score - self.mean)


class ScoreTotals:
    """What metrics look at of any scores, of questions that may share a cluster.

    Adding a score takes constant time; what is asked of them is summed up over the questions.

    Attributes:
        num_scores: attempts added.
        bounded: every score was in [0, 1].
    """

    is_plain = False

    def __init__(self) -> None:
        self.num_scores = 0
        self.bounded = True
        self._questions: dict[Hashable, _Question] = {}
        self._clusters: dict[Hashable, Hashable | None] = {}

    def __contains__(self, question_id: Hashable) -> bool:
        return question_id in self._questions

    @property
    def n(self) -> int:
        return len(self._questions)

    @property
    def mean(self) -> float:
        """Of the questions' means, of which there must be one."""
        return math.fsum(question.mean for question in self._questions.values()) / self.n

    def add(self, question_id: Hashable, score: float, cluster: Hashable | None) -> None:
        known = self._clusters.setdefault(question_id, cluster)
        if known != cluster:
            raise ValueError(
                f"question {question_id!r} is in different clusters: {known!r} and {cluster!r}"
            )
        question = self._questions.get(question_id)
        if question is None:
            question = self._questions[question_id] = _Question()
        question.add(score)
        self.num_scores += 1
        self.bounded = self.bounded and 0.0 <= score <= 1.0

    def attempts(self) -> dict[int, int]:
        """Return questions by attempts."""
        return Counter(question.attempts for question in self._questions.values())

    def sizes(self) -> list[ClusterSize]:
        means = {question_id: question.mean for question_id, question in self._questions.items()}
        if all(cluster is None for cluster in self._clusters.values()):
            return cluster_sizes(means, None)
        # A question without a cluster is alone in one of its own.
        clusters: dict[Hashable, Hashable] = {
            question_id: ("alone", question_id) if cluster is None else ("shared", cluster)
            for question_id, cluster in self._clusters.items()
        }
        return cluster_sizes(means, clusters)

    def variance_split(self) -> VarianceSplit | None:
        questions = self._questions.values()
        repeated = [question for question in questions if question.attempts > 1]
        if self.n < 2 or not repeated:
            return None
        mean = self.mean
        return split_from_moments(
            math.fsum((question.mean - mean) ** 2 for question in questions) / (self.n - 1),
            math.fsum(one.residuals / (one.attempts - 1) for one in repeated) / len(repeated),
            math.fsum(1.0 / question.attempts for question in questions) / self.n,
            self.n,
        )
