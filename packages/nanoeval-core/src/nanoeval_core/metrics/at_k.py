"""pass@k and pass^k of a whole eval, for every k that its data support."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nanoeval_core.metrics.clustered_mean import estimate_values
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
                entries |= estimate_values(
                    values,
                    num_scores=sum(tallies.values()),
                    bounded=True,
                    plain=single,
                    confidence=confidence,
                ).as_dict(name)
    return entries


__all__ = ["at_k_metrics", "supported_ks"]
