"""pass@k and pass^k of a whole eval, for every k that its data support."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from nanoeval_core.metrics.pass_at_k import pass_at_k, pass_hat_k


def supported_ks(fewest_attempts: int) -> list[int]:
    """Return 1, 2, 4, … below `fewest_attempts`, and that: a metric@k needs k attempts of each."""
    powers = (1 << bit for bit in range(fewest_attempts.bit_length()))
    return sorted({fewest_attempts, *powers})


def estimators(fewest_attempts: int) -> dict[str, Callable[..., float]]:
    """Return `pass@k` from k = 1 and `pass^k` from k = 2, for every supported k.

    Each is a function of a question's attempts and how many of them are correct.
    """
    found: dict[str, Callable[..., float]] = {}
    for k in supported_ks(fewest_attempts):
        found[f"pass@{k}"] = partial(pass_at_k, k=k)
        if k > 1:  # they are the same for 1
            found[f"pass^{k}"] = partial(pass_hat_k, k=k)
    return found


__all__ = ["estimators", "supported_ks"]
