"""The variance of a mean of questions of which some are not independent."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple


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


class Spread(NamedTuple):
    """How much a mean varies.

    Attributes:
        variance: CR1, the square of the standard error that is reported.
        adjusted_variance: CR2, which is less biased when clusters are few and unequal; intervals
            use it.
        df: Satterthwaite degrees of freedom of `adjusted_variance`.
        cluster_share: Σ (cluster's share of the questions)²: 1/G when all G are of one size.
    """

    variance: float
    adjusted_variance: float
    df: float
    cluster_share: float


def spread_of_mean(sizes: Sequence[ClusterSize], n: int) -> Spread:
    """Return the variance of the mean of `n` question means in at least 2 clusters.

    Liang & Zeger (1986) with the correction G/(G-1); Bell & McCaffrey (2002) for a regression on
    a constant, where their matrices have closed forms: with w = size/n, CR2 divides a cluster's
    squared residual by 1-w, and df = 1 / (Σw² + (Σq)² - Σq²) with q = w²/(1-w). With clusters of
    one size CR1 = CR2 and df = G-1.
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
    return Spread(variance, adjusted, df, squares)


def clusters_of(
    questions: Iterable[Any], clusters: Mapping[Any, Hashable] | None
) -> list[Hashable] | None:
    """Return the cluster of each question, in their order; None where `clusters` is.

    Raises:
        ValueError: `clusters` lacks a question.
    """
    if clusters is None:
        return None
    found = []
    for question in questions:
        if question not in clusters:
            raise ValueError(f"clusters has no entry for question {question!r}: give it one")
        found.append(clusters[question])
    return found


def cluster_sizes(means: Sequence[float], clusters: Sequence[Hashable] | None) -> list[ClusterSize]:
    """Return the clusters of questions with these means; None makes each question its own."""
    center = math.fsum(means) / len(means)
    bound = float(center >= 0.5)
    if clusters is None:
        residuals = math.fsum((mean - center) ** 2 for mean in means)
        return [ClusterSize(1, len(means), residuals, sum(mean != bound for mean in means))]
    groups: dict[Hashable, list[float]] = {}
    for mean, cluster in zip(means, clusters, strict=True):
        groups.setdefault(cluster, []).append(mean)
    by_size: dict[int, list[list[float]]] = {}
    for group in groups.values():
        by_size.setdefault(len(group), []).append(group)
    return [
        ClusterSize(
            size=size,
            number=len(alike),
            squared_residuals=math.fsum(
                math.fsum(mean - center for mean in group) ** 2 for group in alike
            ),
            mixed=sum(any(mean != bound for mean in group) for group in alike),
        )
        for size, alike in by_size.items()
    ]


__all__ = ["ClusterSize", "Spread", "cluster_sizes", "clusters_of", "spread_of_mean"]
