"""Scores by question: how many, their mean, and how they vary around it."""

from __future__ import annotations

import math
from collections.abc import Hashable

from nanoeval_core.metrics.cluster_variance import cluster_sizes
from nanoeval_core.metrics.clustered_mean import MeanEstimate, estimate_mean
from nanoeval_core.metrics.variance_split import QuestionKind


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
    """

    def __init__(self) -> None:
        self.num_scores = 0
        self._bounded = True
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
        self._bounded = self._bounded and 0.0 <= score <= 1.0

    def kinds(self) -> list[QuestionKind]:
        return [QuestionKind(q.attempts, q.mean, q.residuals) for q in self._questions.values()]

    def estimate(self, confidence: float) -> MeanEstimate:
        clusters: list[Hashable] | None = None
        if any(cluster is not None for cluster in self._clusters.values()):
            # A question without a cluster is alone in one of its own.
            clusters = [
                ("alone", question_id) if cluster is None else ("shared", cluster)
                for question_id, cluster in self._clusters.items()
            ]
        return estimate_mean(
            mean=self.mean,
            sizes=cluster_sizes([one.mean for one in self._questions.values()], clusters),
            num_scores=self.num_scores,
            bounded=self._bounded,
            plain=False,
            confidence=confidence,
        )
