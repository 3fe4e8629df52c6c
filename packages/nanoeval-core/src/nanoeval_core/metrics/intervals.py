"""Confidence intervals from a mean and its standard error."""

from __future__ import annotations

import math
from typing import NamedTuple

from nanoeval_core.metrics._student_t import t_quantile, two_sided_z


class Interval(NamedTuple):
    """A two-sided interval, and how it was made."""

    low: float
    high: float
    method: str


def wilson_interval(successes: float, n: float, *, confidence: float = 0.95) -> Interval:
    """Return the score interval of a proportion (Wilson 1927), for independent yes/no outcomes.

    Args:
        successes: how many of the `n` outcomes were yes; 0 ≤ `successes` ≤ `n`.
        n: how many there were, at least 1.
        confidence: the share of such intervals that should cover the truth.

    Raises:
        ValueError: a number is out of range.
    """
    if not n > 0 or not 0 <= successes <= n:
        raise ValueError(f"successes={successes!r} of n={n!r}: need n > 0 and 0 ≤ successes ≤ n")
    low, high = _score_interval(successes / n, n, two_sided_z(confidence))
    return Interval(low, high, "wilson")


def effective_wilson_interval(
    mean: float, effective_n: float, *, df: float, confidence: float = 0.95
) -> Interval:
    """Return Wilson's interval for the mean of scores in [0, 1] that are no independent outcomes.

    The sample counts for as many independent outcomes as would give a proportion of `mean` the
    variance that the mean has, and t stands in for the normal since that variance is estimated
    (Korn & Graubard 1998; Dean & Pagano 2015).

    Args:
        mean: of the scores.
        effective_n: mean(1-mean) / (variance of the mean), positive.
        df: degrees of freedom of that variance; infinite when none was estimated.
        confidence: the share of such intervals that should cover the truth.
    """
    quantile = two_sided_z(confidence) if math.isinf(df) else t_quantile(0.5 + confidence / 2, df)
    return Interval(*_score_interval(mean, effective_n, quantile), "wilson-effective-n")


def t_interval(mean: float, stderr: float, *, df: float, confidence: float = 0.95) -> Interval:
    """Return `mean` ± t·`stderr`, for scores without known bounds."""
    margin = t_quantile(0.5 + confidence / 2.0, df) * stderr
    return Interval(mean - margin, mean + margin, "t")


def _score_interval(share: float, n: float, quantile: float) -> tuple[float, float]:
    square = quantile * quantile
    center = share + square / (2.0 * n)
    margin = quantile * math.sqrt(share * (1.0 - share) / n + square / (4.0 * n * n))
    scale = 1.0 + square / n
    # At 0 and 1 the bound is exact; rounding must not push it past the possible.
    low = 0.0 if share <= 0.0 else max(0.0, (center - margin) / scale)
    high = 1.0 if share >= 1.0 else min(1.0, (center + margin) / scale)
    return low, high


__all__ = ["Interval", "effective_wilson_interval", "t_interval", "wilson_interval"]
