"""Sufficient statistics of scores by question and cluster, updated in constant time."""

from __future__ import annotations

import math
from collections.abc import Hashable

from nanoeval_core.metrics._compensated_sum import CompensatedSum
from nanoeval_core.metrics.cluster_variance import ClusterSize
from nanoeval_core.metrics.variance_split import VarianceSplit, split_from_moments


class _Cluster:
    """Questions that are not independent, or one that is. Means are less the shift."""

    __slots__ = ("key", "num_ones", "num_zeros", "size", "total")

    def __init__(self, key: Hashable | None) -> None:
        self.key = key
        self.size = 0
        self.total = 0.0  # of the questions' means
        self.num_ones = 0  # questions with no score but 1
        self.num_zeros = 0


class _Question:
    __slots__ = ("attempts", "cluster", "ones", "squares", "total", "zeros")

    def __init__(self, cluster: _Cluster) -> None:
        self.cluster = cluster
        self.attempts = 0
        self.total = 0.0  # of the scores less the shift
        self.squares = 0.0
        self.ones = 0
        self.zeros = 0

    @property
    def mean(self) -> float:
        return self.total / self.attempts

    @property
    def sample_variance(self) -> float:
        residuals = self.squares - self.total * self.total / self.attempts
        return max(0.0, residuals) / (self.attempts - 1)


class _SizeTotals:
    """All clusters of one size."""

    __slots__ = ("all_ones", "all_zeros", "number", "squares", "total")

    def __init__(self) -> None:
        self.number = 0
        self.total = CompensatedSum()
        self.squares = CompensatedSum()
        self.all_ones = 0
        self.all_zeros = 0

    def change(self, cluster: _Cluster, sign: int) -> None:
        self.number += sign
        self.total.add(sign * cluster.total)
        self.squares.add(sign * cluster.total * cluster.total)
        self.all_ones += sign * (cluster.num_ones == cluster.size)
        self.all_zeros += sign * (cluster.num_zeros == cluster.size)


class ScoreTotals:
    """What metrics look at of any scores, of questions that may share a cluster.

    Attributes:
        num_scores: attempts added.
        bounded: every score was in [0, 1].
    """

    is_plain = False

    def __init__(self) -> None:
        self.num_scores = 0
        self.bounded = True
        self._attempts: dict[int, int] = {}  # questions by attempts
        self._questions: dict[Hashable, _Question] = {}
        self._clusters: dict[Hashable, _Cluster] = {}
        self._sizes: dict[int, _SizeTotals] = {}
        self._means = CompensatedSum()
        self._squared_means = CompensatedSum()
        self._within = CompensatedSum()
        self._shift = 0.0

    def __contains__(self, question_id: Hashable) -> bool:
        return question_id in self._questions

    @property
    def n(self) -> int:
        return len(self._questions)

    @property
    def mean(self) -> float:
        """Of the questions' means, of which there must be one."""
        return self._shift + self._means.value / self.n

    def add(self, question_id: Hashable, score: float, cluster: Hashable | None) -> None:
        question = self._questions.get(question_id)
        if question is None:
            question = self._start(question_id, score, cluster)
        elif cluster != question.cluster.key:
            raise ValueError(
                f"question {question_id!r} has attempts in different clusters: "
                f"{question.cluster.key!r} and {cluster!r}"
            )
        self.num_scores += 1
        self.bounded = self.bounded and 0.0 <= score <= 1.0
        self._count(question, -1)
        value = score - self._shift
        question.attempts += 1
        question.total += value
        question.squares += value * value
        question.ones += score == 1.0
        question.zeros += score == 0.0
        self._count(question, 1)

    def attempts(self) -> dict[int, int]:
        """Questions by attempts."""
        return {attempts: number for attempts, number in self._attempts.items() if number}

    def sizes(self) -> list[ClusterSize]:
        """The clusters as `estimate_mean` takes them."""
        centre, mean = self._means.value / self.n, self.mean
        return [
            ClusterSize(
                size=size,
                number=totals.number,
                squared_residuals=_residuals(
                    totals.squares.value, totals.total.value, totals.number, size * centre
                ),
                mixed=totals.number - (totals.all_ones if mean >= 0.5 else totals.all_zeros),
            )
            for size, totals in self._sizes.items()
        ]

    def variance_split(self) -> VarianceSplit | None:
        repeated = self.n - self._attempts.get(1, 0)
        if self.n < 2 or not repeated:
            return None
        means = self._means.value
        residuals = _residuals(self._squared_means.value, means, self.n, means / self.n)
        inverse = math.fsum(number / k for k, number in self._attempts.items()) / self.n
        within = max(0.0, self._within.value) / repeated
        return split_from_moments(residuals / (self.n - 1), within, inverse, self.n)

    def _start(self, question_id: Hashable, score: float, key: Hashable | None) -> _Question:
        if not self._questions:
            self._shift = score  # so that scores far from 0 lose no digits when squared
        cluster = _Cluster(None)
        if key is not None:
            cluster = self._clusters.setdefault(key, _Cluster(key))
        question = self._questions[question_id] = _Question(cluster)
        return question

    def _count(self, question: _Question, sign: int) -> None:
        """Put in (`sign` 1) or take out (-1) what the question contributes as it is."""
        cluster, attempts = question.cluster, question.attempts
        if sign < 0 and cluster.size:
            self._count_cluster(cluster, -1)
        if attempts:
            mean = question.mean
            cluster.size += sign
            cluster.total += sign * mean
            cluster.num_ones += sign * (question.ones == attempts)
            cluster.num_zeros += sign * (question.zeros == attempts)
            self._means.add(sign * mean)
            self._squared_means.add(sign * mean * mean)
            if attempts > 1:
                self._within.add(sign * question.sample_variance)
            self._attempts[attempts] = self._attempts.get(attempts, 0) + sign
        if sign > 0:
            self._count_cluster(cluster, 1)

    def _count_cluster(self, cluster: _Cluster, sign: int) -> None:
        totals = self._sizes.get(cluster.size)
        if totals is None:
            totals = self._sizes[cluster.size] = _SizeTotals()
        totals.change(cluster, sign)
        if not totals.number:
            del self._sizes[cluster.size]


def _residuals(squares: float, total: float, number: int, centre: float) -> float:
    """Σ (x - centre)² from Σ x² and Σ x of `number` terms."""
    residuals = squares - 2.0 * centre * total + number * centre * centre
    return residuals if residuals > 1e-14 * squares else 0.0  # below that it is rounding
