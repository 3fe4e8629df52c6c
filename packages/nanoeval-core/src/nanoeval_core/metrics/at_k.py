"""pass@k and pass^k of a whole eval, for every k that its data support."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from nanoeval_core.metrics.cluster_variance import ClusterSize
from nanoeval_core.metrics.clustered_mean import MeanEstimate, estimate_mean
from nanoeval_core.metrics.pass_at_k import pass_at_k, pass_hat_k


def supported_ks(fewest_attempts: int) -> list[int]:
    """Return 1, 2, 4, … below `fewest_attempts`, and that: a metric@k needs k attempts of each."""
    powers = (1 << bit for bit in range(fewest_attempts.bit_length()))
    return sorted({fewest_attempts, *powers})


def at_k_metrics(
    tallies: Mapping[tuple[int, int], int], *, confidence: float = 0.95
) -> dict[str, Any]:
    """Return `pass@k` from k = 1 and `pass^k` from k = 2, each with `_stderr`, `_ci95` and `_n`.

    Args:
        tallies: how many (independent) questions have so many (attempts, correct attempts); at
            least one.
        confidence: of the intervals.
    """
    entries: dict[str, Any] = {}
    for k in supported_ks(min(attempts for attempts, _ in tallies)):
        for name, estimator in ((f"pass@{k}", pass_at_k), (f"pass^{k}", pass_hat_k)):
            if k > 1 or estimator is pass_at_k:
                values = [(estimator(n, c, k), number) for (n, c), number in tallies.items()]
                single = k == 1 and all(n == 1 for n, _ in tallies)
                entries |= _mean_of_values(values, single, confidence).as_dict(name)
    return entries


def _mean_of_values(
    values: Sequence[tuple[float, int]], plain: bool, confidence: float
) -> MeanEstimate:
    """Return the estimate of the mean of per-question values, each with how often it occurs."""
    n = sum(number for _, number in values)
    mean = math.fsum(value * number for value, number in values) / n
    bound = float(mean >= 0.5)
    return estimate_mean(
        mean=mean,
        sizes=[
            ClusterSize(
                size=1,
                number=n,
                squared_residuals=math.fsum(
                    number * (value - mean) ** 2 for value, number in values
                ),
                mixed=sum(number for value, number in values if value != bound),
            )
        ],
        num_scores=n,
        bounded=True,
        plain=plain,
        confidence=confidence,
    )


__all__ = ["at_k_metrics", "supported_ks"]
