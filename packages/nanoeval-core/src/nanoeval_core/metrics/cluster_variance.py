"""The variance of a mean of questions of which some are not independent."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
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


def group_by_cluster(
    means: Mapping[Any, float], clusters: Mapping[Any, Hashable] | None
) -> list[list[float]]:
    """Return the question means of each cluster; None for `clusters` makes each question its own.

    Raises:
        ValueError: `clusters` lacks a question.
    """
    if clusters is None:
        return [[mean] for mean in means.values()]
    groups: dict[Hashable, list[float]] = {}
    for question, mean in means.items():
        if question not in clusters:
            raise ValueError(f"clusters has no entry for question {question!r}: give it one")
        groups.setdefault(clusters[question], []).append(mean)
    return list(groups.values())


def cluster_sizes(
    means: Mapping[Any, float] | Sequence[float], clusters: Mapping[Any, Hashable] | None
) -> list[ClusterSize]:
    """Return the clusters of questions with these means; None for `clusters` makes each its own.

    Where each is its own, the means alone are enough: a million of them take 8 MB.

    Raises:
        ValueError: `clusters` lacks a question.
    """
    values = means.values() if isinstance(means, Mapping) else means
    centre = math.fsum(values) / len(values)
    bound = float(centre >= 0.5)
    if clusters is None:
        residuals = math.fsum((mean - centre) ** 2 for mean in values)
        return [ClusterSize(1, len(values), residuals, sum(mean != bound for mean in values))]
    assert isinstance(means, Mapping)  # noqa: S101  clusters are by question
    by_size: dict[int, list[list[float]]] = {}
    for group in group_by_cluster(means, clusters):
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


__all__ = ["ClusterSize", "Spread", "cluster_sizes", "group_by_cluster", "spread_of_mean"]
