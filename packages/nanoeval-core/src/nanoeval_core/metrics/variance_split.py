"""Where the uncertainty comes from, and what would make it smaller.

A question's mean over k attempts varies with the question and with the luck of its attempts:
Var = between + within/k (Miller 2024, arXiv:2411.00640, section 3). More attempts shrink only the
second part; more questions shrink both.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from nanoeval_core.metrics._student_t import NORMAL, two_sided_z
from nanoeval_core.metrics.clustered_mean import MeanEstimate

QuestionKind = tuple[int, float, float]
"""A question's attempts, the sum of their scores, and Σ (score - mean)²."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class VarianceSplit:
    """Variance of scores, between questions and within them.

    Attributes:
        between: variance of the questions' true means. Estimated without bias, cut off at 0.
        within: variance of single attempts around their question's true mean, averaged over
            questions.
        attempts: attempts per question (their harmonic mean).
        n: questions.
    """

    between: float
    within: float
    attempts: float
    n: int

    def stderr(self, *, n: int | None = None, attempts: float | None = None) -> float:
        """Return the standard error with `n` independent questions of `attempts` attempts each."""
        n, attempts = n or self.n, attempts or self.attempts
        return math.sqrt((self.between + self.within / attempts) / n)

    @property
    def attempts_to_halve(self) -> int | None:
        """Attempts per question that would halve the standard error; None if none would."""
        room = (self.between + self.within / self.attempts) / 4.0 - self.between
        if room <= 0.0:
            return None
        return math.ceil(self.within / room - 1e-9) or None


def split_variance(kinds: Mapping[QuestionKind, int]) -> VarianceSplit | None:
    """Return the variance of scores within and between questions.

    The one-way random effects estimator: `within` is the mean of the questions' sample variances
    and `between` the variance of their means less what attempts contribute to it. With ragged
    attempts, questions of one attempt inform only the latter.

    Args:
        kinds: how many questions there are of each kind.

    Returns:
        None with fewer than 2 questions, or if none has 2 attempts: nothing tells them apart.
    """
    n = sum(kinds.values())
    repeated = {kind: number for kind, number in kinds.items() if kind[0] > 1}
    if n < 2 or not repeated:
        return None
    means = [(total / attempts, number) for (attempts, total, _), number in kinds.items()]
    mean = math.fsum(value * number for value, number in means) / n
    of_means = math.fsum(number * (value - mean) ** 2 for value, number in means) / (n - 1)
    within = math.fsum(number * left / (k - 1) for (k, _, left), number in repeated.items())
    within /= sum(repeated.values())
    inverse_attempts = math.fsum(number / k for (k, _, _), number in kinds.items()) / n
    return VarianceSplit(
        between=max(0.0, of_means - within * inverse_attempts),
        within=within,
        attempts=1.0 / inverse_attempts,
        n=n,
    )


def questions_for_difference(
    variance: float, difference: float, *, confidence: float = 0.95, power: float = 0.8
) -> int:
    """Return how many questions show a true difference of `difference`.

    Args:
        variance: of one question's difference between the runs. For two runs compared without
            pairing it is the sum of their per-question variances; paired, usually much less:
            n·stderr² of a comparison.
        difference: the smallest true difference that should be found; not 0.
        confidence: of the two-sided interval that must exclude 0.
        power: the chance that it does.

    Returns:
        ⌈(z_confidence + z_power)² · variance / difference²⌉, at least 2.

    Raises:
        ValueError: a number is out of range.
    """
    if difference == 0 or not 0 < power < 1 or variance < 0:
        raise ValueError(
            f"variance={variance!r}, difference={difference!r}, power={power!r}: need variance "
            "≥ 0, a difference other than 0 and 0 < power < 1"
        )
    z = two_sided_z(confidence) + NORMAL.inv_cdf(power)
    return max(2, math.ceil(z * z * variance / difference**2 - 1e-9))


def describe_power(
    estimate: MeanEstimate, split: VarianceSplit | None, *, points: float = 2.0
) -> dict[str, Any]:
    """Return what would make `estimate` surer, as summary entries; empty without a standard error.

    It is empty too where that is 0: nothing shows how scores vary.

    `questions_to_halve_stderr`, `attempts_to_halve_stderr` (absent when no number of attempts
    would, or when attempts are not repeated), `questions_for_{points}_points` (to see a difference
    of so many points of 100 between two such runs at the estimate's confidence, with power 80 %
    and without pairing) and `text`, which says it in words.
    """
    if not estimate.stderr or estimate.stderr <= 1e-14 * abs(estimate.mean or 0.0):  # rounding
        return {}
    needed = questions_for_difference(
        2.0 * estimate.n * estimate.stderr**2, points / 100.0, confidence=estimate.confidence
    )
    entries: dict[str, Any] = {"questions_to_halve_stderr": 4 * estimate.n}
    halving = f"{4 * estimate.n} questions"
    if split is not None and split.attempts_to_halve is not None:
        entries["attempts_to_halve_stderr"] = split.attempts_to_halve
        halving += f" or {split.attempts_to_halve} attempts per question"
    elif split is not None:
        halving += "; no number of attempts would"
    entries[f"questions_for_{points:g}_points"] = needed
    entries["text"] = (
        f"To see a {points:g}-point difference between two runs at {100 * estimate.confidence:g} % "
        f"(power 80 %, unpaired), ask about {needed} questions. To halve the standard error: "
        f"{halving}."
    )
    return entries


__all__ = ["VarianceSplit", "describe_power", "questions_for_difference", "split_variance"]
