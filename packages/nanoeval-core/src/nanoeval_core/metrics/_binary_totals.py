"""Sufficient statistics of right and wrong attempts at independent questions."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator

from nanoeval_core.metrics.cluster_variance import ClusterSize
from nanoeval_core.metrics.variance_split import VarianceSplit, split_from_moments


class BinaryTotals:
    """How many questions have so many (attempts, correct attempts): all that metrics look at.

    Attributes:
        tallies: questions by (attempts, correct attempts).
        num_scores: attempts added.
    """

    bounded = True

    def __init__(self) -> None:
        self.tallies: dict[tuple[int, int], int] = {}
        self.num_scores = 0
        self._questions: dict[Hashable, tuple[int, int]] = {}

    def __contains__(self, question_id: Hashable) -> bool:
        return question_id in self._questions

    @property
    def n(self) -> int:
        return len(self._questions)

    @property
    def is_plain(self) -> bool:
        """Whether every question has a single attempt."""
        return self.num_scores == self.n

    @property
    def mean(self) -> float:
        return math.fsum(c / n * number for (n, c), number in self.tallies.items()) / self.n

    def add(self, question_id: Hashable, correct: bool) -> None:
        old = self._questions.get(question_id)
        if old is None:
            new = (1, 1 if correct else 0)
        else:
            new = (old[0] + 1, old[1] + 1 if correct else old[1])
            left = self.tallies[old] - 1
            if left:
                self.tallies[old] = left
            else:
                del self.tallies[old]
        self._questions[question_id] = new
        self.tallies[new] = self.tallies.get(new, 0) + 1
        self.num_scores += 1

    def scores(self) -> Iterator[tuple[Hashable, float]]:
        """Yield every attempt's question and score."""
        for question_id, (attempts, correct) in self._questions.items():
            for index in range(attempts):
                yield question_id, float(index < correct)

    def attempts(self) -> dict[int, int]:
        """Return questions by attempts."""
        attempts: dict[int, int] = {}
        for (n, _), number in self.tallies.items():
            attempts[n] = attempts.get(n, 0) + number
        return attempts

    def sizes(self) -> list[ClusterSize]:
        mean = self.mean
        bound = float(mean >= 0.5)
        residuals = [(number, c / n - mean) for (n, c), number in self.tallies.items()]
        mixed = sum(number for (n, c), number in self.tallies.items() if c / n != bound)
        squares = math.fsum(number * residual * residual for number, residual in residuals)
        return [ClusterSize(1, self.n, squares, mixed)]

    def variance_split(self) -> VarianceSplit | None:
        repeated = [(n, c, number) for (n, c), number in self.tallies.items() if n > 1]
        if self.n < 2 or not repeated:
            return None
        within = math.fsum(number * c * (n - c) / (n * (n - 1)) for n, c, number in repeated)
        inverse = math.fsum(number / n for (n, _), number in self.tallies.items()) / self.n
        (sizes,) = self.sizes()
        return split_from_moments(
            sizes.squared_residuals / (self.n - 1),
            within / sum(number for _, _, number in repeated),
            inverse,
            self.n,
        )
