"""Sufficient statistics of right and wrong attempts at independent questions."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator

from nanoeval_core.metrics.clustered_mean import MeanEstimate, estimate_values
from nanoeval_core.metrics.variance_split import QuestionKind


class BinaryTotals:
    """How many questions have so many (attempts, correct attempts): all that metrics look at.

    Attributes:
        tallies: questions by (attempts, correct attempts).
        num_scores: attempts added.
    """

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

    def kinds(self) -> list[QuestionKind]:
        return [
            QuestionKind(n, c / n, c * (n - c) / n, number)
            for (n, c), number in self.tallies.items()
        ]

    def estimate(self, confidence: float) -> MeanEstimate:
        return estimate_values(
            [(c / n, number) for (n, c), number in self.tallies.items()],
            num_scores=self.num_scores,
            bounded=True,
            plain=self.num_scores == self.n,
            confidence=confidence,
        )
