"""The mean of per-question means, with a standard error and an interval that respect clusters.

Questions weigh equally however many attempts each has. Attempts at one question are not
independent, so the question is the unit; questions that share a passage, an author or a
repository are not independent either, so when they are given a cluster, the cluster is.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, NamedTuple

from nanoeval_core.metrics.intervals import (
    Interval,
    effective_wilson_interval,
    t_interval,
    wilson_interval,
)
from nanoeval_core.metrics.student_t import two_sided_z

ALL_OR_NOTHING_WEIGHT = 0.3
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
        low: lower end of the interval.
        high: upper end of the interval.
        n: questions.
        num_scores: attempts, over all questions.
        num_clusters: independent groups of questions; `n` when no clusters were given.
        confidence: of the interval.
        method: of the interval: `wilson`, `wilson-effective-n` or `t`.
        why: what is missing and why; empty when nothing is.
    """

    mean: float | None
    stderr: float | None
    low: float | None
    high: float | None
    n: int
    num_scores: int
    num_clusters: int
    confidence: float
    method: str | None
    why: str = ""

    def as_dict(self, name: str) -> dict[str, Any]:
        """The estimate as summary entries, without those that are None.

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


class ClusterSize(NamedTuple):
    """All clusters that hold the same number of questions.

    Attributes:
        size: questions in each.
        number: how many clusters there are.
        squared_residuals: Σ over them of (Σ over their questions of question mean - mean)².
        mixed: how many of them are neither all 1, when the mean is at least 0.5, nor all 0, when
            it is less. Matters only for scores in [0, 1].
    """

    size: int
    number: int
    squared_residuals: float
    mixed: int


def clustered_mean(
    scores: Mapping[Any, Sequence[float]],
    *,
    clusters: Mapping[Any, Hashable] | None = None,
    confidence: float = 0.95,
) -> MeanEstimate:
    """The mean of per-question means of `scores`, its standard error and interval.

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
    means = {question: _mean_of(question, values) for question, values in scores.items()}
    num_scores = sum(len(values) for values in scores.values())
    if not means:
        two_sided_z(confidence)
        return no_estimate(confidence)
    single = num_scores == len(means)
    return estimate_mean(
        mean=math.fsum(means.values()) / len(means),
        sizes=_cluster_sizes(means, clusters),
        num_scores=num_scores,
        bounded=all(0 <= score <= 1 for values in scores.values() for score in values),
        plain=clusters is None and single and all(mean in (0.0, 1.0) for mean in means.values()),
        confidence=confidence,
    )


def no_estimate(confidence: float = 0.95) -> MeanEstimate:
    """What there is to say about no questions."""
    return MeanEstimate(
        mean=None,
        stderr=None,
        low=None,
        high=None,
        n=0,
        num_scores=0,
        num_clusters=0,
        confidence=confidence,
        method=None,
        why="no results",
    )


def estimate_mean(
    *,
    mean: float,
    sizes: Sequence[ClusterSize],
    num_scores: int,
    bounded: bool,
    plain: bool,
    confidence: float = 0.95,
) -> MeanEstimate:
    """The estimate from sufficient statistics, for callers that keep those up to date themselves.

    Args:
        mean: of the per-question means.
        sizes: the clusters, by size; sizes differ and counts are positive.
        num_scores: attempts, over all questions.
        bounded: every score is in [0, 1].
        plain: one yes/no attempt at each of independent questions.
        confidence: of the interval.
    """
    n = sum(group.size * group.number for group in sizes)
    num_clusters = sum(group.number for group in sizes)
    spread = _spread(sizes, n) if num_clusters > 1 else None
    interval: Interval | None = None
    if plain:
        interval = wilson_interval(round(mean * n), n, confidence=confidence)
    elif spread is not None:
        interval = _interval(mean, spread, sizes, bounded=bounded, confidence=confidence)
    return MeanEstimate(
        mean=mean,
        stderr=None if spread is None else math.sqrt(spread.variance),
        low=interval.low if interval else None,
        high=interval.high if interval else None,
        n=n,
        num_scores=num_scores,
        num_clusters=num_clusters,
        confidence=confidence,
        method=interval.method if interval else None,
        why="" if spread else "a standard error needs at least 2 independent questions",
    )


class _Spread(NamedTuple):
    """Variance of a mean: as reported, with less bias for the interval, and that one's df."""

    variance: float
    adjusted_variance: float
    df: float


def _spread(sizes: Sequence[ClusterSize], n: int) -> _Spread:
    """CR1 variance, CR2 variance and the latter's Satterthwaite degrees of freedom.

    Bell & McCaffrey (2002) for a regression on a constant, where the matrices have closed forms:
    with w = size/n, CR2 divides a cluster's squared residual by 1-w, and
    df = 1 / (Σw² + (Σq)² - Σq²) with q = w²/(1-w). With equal sizes CR1 = CR2 and df = G-1.
    """
    num_clusters = sum(group.number for group in sizes)
    correction = num_clusters / (num_clusters - 1)
    variance = correction * math.fsum(group.squared_residuals for group in sizes) / n**2
    shares = [(group.number, group.size / n, group.squared_residuals) for group in sizes]
    adjusted = math.fsum(residuals / (1.0 - w) for _, w, residuals in shares) / n**2
    squares = math.fsum(number * w * w for number, w, _ in shares)
    leverages = [(number, w * w / (1.0 - w)) for number, w, _ in shares]
    total = math.fsum(number * q for number, q in leverages)
    df = 1.0 / (squares + total * total - math.fsum(number * q * q for number, q in leverages))
    return _Spread(variance, adjusted, df)


def _interval(
    mean: float, spread: _Spread, sizes: Sequence[ClusterSize], *, bounded: bool, confidence: float
) -> Interval:
    if not bounded:
        return t_interval(
            mean, math.sqrt(spread.adjusted_variance), df=spread.df, confidence=confidence
        )
    n = sum(group.size * group.number for group in sizes)
    # The share of one cluster if all were as large; equal clusters make it 1/G.
    cluster_share = math.fsum(group.number * (group.size / n) ** 2 for group in sizes)
    if spread.adjusted_variance <= (1e-14 * mean) ** 2:  # nothing but rounding
        # All clusters alike, so nothing shows how they vary: each counts as one outcome.
        effective_n = 1.0 / cluster_share
    else:
        mixed = sum(group.mixed for group in sizes)
        all_or_nothing = mean * (1.0 - mean) * cluster_share
        variance = (mixed * spread.adjusted_variance + ALL_OR_NOTHING_WEIGHT * all_or_nothing) / (
            mixed + ALL_OR_NOTHING_WEIGHT
        )
        effective_n = mean * (1.0 - mean) / variance
    return effective_wilson_interval(mean, effective_n, df=spread.df, confidence=confidence)


def _mean_of(question: Any, values: Sequence[float]) -> float:
    if not len(values):
        raise ValueError(f"question {question!r} has no scores: leave it out, or count it missing")
    total = math.fsum(values)
    if not math.isfinite(total):
        raise ValueError(f"question {question!r} has a score that is not finite: {list(values)!r}")
    return total / len(values)


def _cluster_sizes(
    means: Mapping[Any, float], clusters: Mapping[Any, Hashable] | None
) -> list[ClusterSize]:
    centre = math.fsum(means.values()) / len(means)
    bound = float(centre >= 0.5)
    groups: dict[Any, list[float]] = {}
    for question, mean in means.items():
        if clusters is not None and question not in clusters:
            raise ValueError(f"clusters has no entry for question {question!r}: give it one")
        groups.setdefault(question if clusters is None else clusters[question], []).append(mean)
    by_size: dict[int, list[list[float]]] = {}
    for group in groups.values():
        by_size.setdefault(len(group), []).append(group)
    return [
        ClusterSize(
            size=size,
            number=len(alike),
            squared_residuals=math.fsum(
                math.fsum(mean - centre for mean in group) ** 2 for group in alike
            ),
            mixed=sum(any(mean != bound for mean in group) for group in alike),
        )
        for size, alike in by_size.items()
    ]
