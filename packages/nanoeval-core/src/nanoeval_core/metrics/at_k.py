"""pass@k and pass^k of a whole eval, for every k that its data support."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from nanoeval_core.metrics.clustered_mean import estimate_values
from nanoeval_core.metrics.pass_at_k import pass_at_k, pass_hat_k


def supported_ks(fewest_attempts: int) -> list[int]:
    """Return 1, 2, 4, … below `fewest_attempts`, and that: a metric@k needs k attempts of each."""
    powers = (1 << bit for bit in range(fewest_attempts.bit_length()))
    return sorted({fewest_attempts, *powers})


def estimators(k: int) -> dict[str, Callable[[int, int, int], float]]:
    """Return the estimators of `pass@k` and `pass^k`, which are the same for k = 1."""
    found: dict[str, Callable[[int, int, int], float]] = {f"pass@{k}": pass_at_k}
    if k > 1:
        found[f"pass^{k}"] = pass_hat_k
    return found


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
        for name, estimator in estimators(k).items():
            entries |= estimate_values(
                [(estimator(n, c, k), number) for (n, c), number in tallies.items()],
                num_scores=sum(tallies.values()),
                bounded=True,
                plain=k == 1 and all(n == 1 for n, _ in tallies),
                confidence=confidence,
            ).as_dict(name)
    return entries


__all__ = ["at_k_metrics", "estimators", "supported_ks"]
