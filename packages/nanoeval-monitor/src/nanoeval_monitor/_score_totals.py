"""The running score: sufficient statistics that are kept on disk, so memory does not grow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from nanoeval_core.metrics.cluster_variance import ClusterSize
from nanoeval_core.metrics.clustered_mean import MeanEstimate, estimate_mean, no_estimate


class ScoreTally(NamedTuple):
    """How many questions have `attempts` scored attempts that add up to `total`."""

    attempts: int
    total: float
    questions: int


def estimate(tallies: Sequence[ScoreTally]) -> MeanEstimate:
    """Return what `nanoeval_core.metrics.clustered_mean.clustered_mean` says of these questions."""
    n = sum(tally.questions for tally in tallies)
    if not n:
        return no_estimate()
    means = [(tally.total / tally.attempts, tally.questions) for tally in tallies]
    mean = sum(one * questions for one, questions in means) / n
    bound = float(mean >= 0.5)
    attempts = sum(tally.attempts * tally.questions for tally in tallies)
    return estimate_mean(
        mean=mean,
        sizes=[
            ClusterSize(
                size=1,
                number=n,
                squared_residuals=sum(k * (one - mean) ** 2 for one, k in means),
                mixed=sum(k for one, k in means if one != bound),
            )
        ],
        num_scores=attempts,
        bounded=all(0 <= tally.total <= tally.attempts for tally in tallies),
        plain=attempts == n and all(one in (0.0, 1.0) for one, _ in means),
    )
