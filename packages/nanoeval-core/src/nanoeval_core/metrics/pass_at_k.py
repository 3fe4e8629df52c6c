"""pass@k and pass^k: what k attempts at a question are worth.

Each is estimated without bias from n ≥ k attempts as the average over all subsets of k of them,
in closed form, and stays accurate for n in the millions.
"""

from __future__ import annotations

import math


def pass_at_k(n: int, c: int, k: int) -> float:
    """Return the chance that at least one of `k` attempts is correct, given `c` correct of `n`.

    1 - C(n-c, k)/C(n, k): Chen et al. 2021, arXiv:2107.03374, equation 1.

    Raises:
        ValueError: not 0 ≤ c ≤ n, or not 1 ≤ k ≤ n.
    """
    _check(n, c, k)
    if n - c < k:
        return 1.0
    return -math.expm1(_log_share_without(n, c, k))


def pass_hat_k(n: int, c: int, k: int) -> float:
    """Return the chance that all of `k` attempts are correct, given `c` correct of `n`: pass^k.

    C(c, k)/C(n, k): Yao et al. 2024, arXiv:2406.12045.

    Raises:
        ValueError: not 0 ≤ c ≤ n, or not 1 ≤ k ≤ n.
    """
    _check(n, c, k)
    if c < k:
        return 0.0
    return math.exp(_log_share_without(n, n - c, k))


def _log_share_without(n: int, c: int, k: int) -> float:
    """Return log of C(n-c, k)/C(n, k), for n-c ≥ k; the shorter of two equal products."""
    smaller, larger = min(c, k), max(c, k)
    return math.fsum(math.log1p(-larger / (n - i)) for i in range(smaller))


def _check(n: int, c: int, k: int) -> None:
    if not 0 <= c <= n:
        raise ValueError(f"n={n!r} attempts, c={c!r} correct: need 0 ≤ c ≤ n")
    if not 1 <= k <= n:
        raise ValueError(f"k={k!r} of n={n!r} attempts: need 1 ≤ k ≤ n")


__all__ = ["pass_at_k", "pass_hat_k"]
