"""The mean of per-question means, with a standard error and an interval that respect clusters.

Questions weigh equally however many attempts each has. Attempts at one question are not
independent, so the question is the unit; questions that share a passage, an author or a
repository are not independent either, so when they are given a cluster, the cluster is.
"""

from __future__ import annotations

import dataclasses
import math
from array import array
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

from nanoeval_core.metrics._student_t import two_sided_z
from nanoeval_core.metrics.cluster_variance import (
    ClusterSize,
    Spread,
    cluster_sizes,
    clusters_of,
    spread_of_mean,
)
from nanoeval_core.metrics.intervals import (
    Interval,
    effective_wilson_interval,
    t_interval,
    wilson_interval,
)

_ALL_OR_NOTHING_WEIGHT = 0.3
"""How many clusters' worth of evidence the interval gives to "clusters are all 1 or all 0".

Near 0 and 1 few clusters show how much clusters vary, and samples that by chance show little also
have the mean furthest off, so intervals at the estimated variance cover too little. 0.3 makes the
largest departure from 95 % in the simulations of `docs/statistics.md` 3 points instead of 7; with
more than some ten clusters away from the bound it changes nothing to speak of.
"""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class MeanEstimate:
    """A mean and how sure it is. What the data cannot support is None, and `why` says why.

    Attributes:
        mean: of the per-question means; None without questions.
        stderr: its standard error, clustered; None with fewer than 2 clusters.
        n: questions.
        num_scores: attempts, over all questions.
        num_clusters: independent groups of questions; `n` when no clusters were given.
        confidence: of the interval.
        method: of the interval: `wilson`, `wilson-effective-n` or `t`.
        why: what is missing and why; empty when nothing is.
    """

    mean: float | None = None
    stderr: float | None = None
    low: float | None = None
    high: float | None = None
    n: int
    num_scores: int
    num_clusters: int
    confidence: float
    method: str | None = None
    why: str = ""

    def as_dict(self, name: str) -> dict[str, Any]:
        """Return the estimate as summary entries, without those that are None.

        `{name}`, `{name}_stderr`, `{name}_ci95` (a list of two; the number is the confidence)
        and `{name}_n`.
        """
        entries: dict[str, Any] = {}
        if self.mean is not None:
            entries[name] = self.mean
        if self.stderr is not None:
            entries[f"{name}_stderr"] = self.stderr
        if self.low is not None:
            entries[f"{name}_ci{100 * self.confidence:g}"] = [self.low, self.high]
        entries[f"{name}_n"] = self.n
        return entries


def clustered_mean(
    scores: Mapping[Any, Sequence[float]],
    *,
    clusters: Mapping[Any, Hashable] | None = None,
    confidence: float = 0.95,
) -> MeanEstimate:
    """Return the mean of per-question means of `scores`, its standard error and interval.

    The standard error is the cluster-robust one with the G/(G-1) correction (Liang & Zeger 1986;
    for evals: Miller 2024, arXiv:2411.00640). The interval is Wilson's for single yes/no attempts
    at independent questions; Wilson's at the effective sample size for other scores in [0, 1];
    and a t interval for scores without such bounds. `docs/statistics.md` has the formulas.

    Args:
        scores: the scores of each question's attempts: bools, or finite numbers. A question
            without any is an error: leave it out.
        clusters: each question's cluster; by default every question is its own.
        confidence: of the interval.

    Raises:
        ValueError: a question has no scores or one that is not finite, `clusters` lacks a
            question, or `confidence` is not between 0 and 1.
    """
    means = array("d", (mean_of(question, values) for question, values in scores.items()))
    num_scores = sum(len(values) for values in scores.values())
    kinds = [*Counter(means).items()] if clusters is None else [(mean, 1) for mean in means]
    return estimate_values(
        kinds,
        clusters=clusters_of(scores, clusters),
        num_scores=num_scores,
        bounded=all(0 <= score <= 1 for values in scores.values() for score in values),
        plain=num_scores == len(means) and all(mean in (0.0, 1.0) for mean, _ in kinds),
        confidence=confidence,
    )


def estimate_values(
    values: Sequence[tuple[float, int]],
    *,
    clusters: Sequence[Hashable] | None = None,
    num_scores: int,
    bounded: bool,
    plain: bool,
    confidence: float = 0.95,
) -> MeanEstimate:
    """Return the estimate from sufficient statistics, for callers that keep those up to date.

    Args:
        values: the means that questions have, and how many have each.
        clusters: of each of them, where they are each of one question.
        num_scores: attempts, over all questions.
        bounded: every score is in [0, 1].
        plain: there is one yes/no attempt at each question.
        confidence: of the interval.
    """
    two_sided_z(confidence)
    known: dict[str, Any] = {"num_scores": num_scores, "confidence": confidence}
    n = sum(number for _, number in values)
    if not n:
        return MeanEstimate(n=0, num_clusters=0, why="no results", **known)
    mean = math.fsum(value * number for value, number in values) / n
    if clusters is None:
        residuals = math.fsum(number * (value - mean) ** 2 for value, number in values)
        bound = float(mean >= 0.5)
        mixed = sum(number for value, number in values if value != bound)
        sizes = [ClusterSize(1, n, residuals, mixed)]
    else:
        sizes = cluster_sizes([value for value, _ in values], clusters)
    num_clusters = sum(group.number for group in sizes)
    spread = spread_of_mean(sizes, n) if num_clusters > 1 else None
    interval: Interval | None = None
    why = ""
    if plain and clusters is None:
        interval = wilson_interval(round(mean * n), n, confidence=confidence)
    elif spread is not None and bounded:
        effective_n, df = independent_outcomes(mean, spread, sizes)
        interval = effective_wilson_interval(mean, effective_n, df=df, confidence=confidence)
    elif spread is not None and spread.adjusted_variance > (1e-14 * mean) ** 2:
        stderr = math.sqrt(spread.adjusted_variance)
        interval = t_interval(mean, stderr, df=spread.df, confidence=confidence)
    if spread is None:
        why = "a standard error needs at least 2 independent questions"
    elif interval is None:
        why = "an interval needs scores that differ, or are known to be in [0, 1]"
    return MeanEstimate(
        mean=mean,
        stderr=None if spread is None else math.sqrt(spread.variance),
        n=n,
        num_clusters=num_clusters,
        why=why,
        **known,
        **(interval._asdict() if interval else {}),  # low, high, method
    )


def independent_outcomes(
    mean: float, spread: Spread, sizes: Sequence[ClusterSize]
) -> tuple[float, float]:
    """Return how many independent yes/no outcomes questions with scores in [0, 1] count for.

    Returns:
        that number, and the degrees of freedom of the variance it was made of: infinite where
        none was estimated.
    """
    if not 0.0 < mean < 1.0:
        # Each cluster is one more that was all right (all wrong), whatever its size: asking more
        # questions, or more often, never makes that less.
        return sum(group.number for group in sizes), math.inf
    if spread.adjusted_variance <= (1e-14 * mean) ** 2:
        # All clusters alike, so nothing shows how they vary: each counts as one outcome.
        return 1.0 / spread.cluster_share, math.inf
    mixed = sum(group.mixed for group in sizes)
    all_or_nothing = mean * (1.0 - mean) * spread.cluster_share
    variance = (mixed * spread.adjusted_variance + _ALL_OR_NOTHING_WEIGHT * all_or_nothing) / (
        mixed + _ALL_OR_NOTHING_WEIGHT
    )
    return mean * (1.0 - mean) / variance, spread.df


def mean_of(question: Any, values: Sequence[float]) -> float:
    """Return the mean score of one question.

    Raises:
        ValueError: it has no scores, or one that is not finite.
    """
    number = len(values)
    if not number:
        raise ValueError(f"question {question!r} has no scores: leave it out, or count it missing")
    total = math.fsum(values) if number > 1 else float(values[0])
    if not math.isfinite(total):
        raise ValueError(f"question {question!r} has a score that is not finite: {list(values)!r}")
    return total / number


__all__ = ["MeanEstimate", "clustered_mean", "estimate_values"]
