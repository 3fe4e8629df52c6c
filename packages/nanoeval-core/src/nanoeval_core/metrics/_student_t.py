"""Student's t distribution in plain Python: what small samples need instead of 1.96."""

from __future__ import annotations

import math
from functools import lru_cache
from statistics import NormalDist

NORMAL = NormalDist()
_MANY = 1e4  # degrees of freedom beyond which the asymptotic series beats the incomplete beta


def two_sided_z(confidence: float) -> float:
    """Return the normal quantile of a two-sided interval: 1.96 for `confidence` 0.95.

    Raises:
        ValueError: `confidence` is not strictly between 0 and 1.
    """
    if not 0.0 < confidence < 1.0:
        raise ValueError(f"confidence={confidence!r}: give a number between 0 and 1, such as 0.95")
    return NORMAL.inv_cdf(0.5 + confidence / 2.0)


def t_sf(t: float, df: float) -> float:
    """Return P(T > t) for Student's t with `df` > 0 degrees of freedom, which need not be whole."""
    if df > _MANY:
        return NORMAL.cdf(-_normal_deviate(t, df))
    tail = 0.5 * regularized_incomplete_beta(df / 2.0, 0.5, df / (df + t * t))
    return tail if t >= 0 else 1.0 - tail


@lru_cache(maxsize=512)
def t_quantile(probability: float, df: float) -> float:
    """Return the quantile of Student's t with `df` > 0 degrees of freedom, which need not be whole.

    Raises:
        ValueError: `probability` is not strictly between 0 and 1, or `df` is not positive.
    """
    if probability < 0.5:
        return -t_quantile(1.0 - probability, df)
    tail = 1.0 - probability
    # Newton's method. The tail is convex and the normal quantile is below the root: each step goes
    # up, until rounding ends them.
    found = NORMAL.inv_cdf(probability)
    while (step := (t_sf(found, df) - tail) / _t_density(found, df)) > 1e-15 * max(1.0, found):
        found += step
    return found


def _t_density(t: float, df: float) -> float:
    log_scale = math.lgamma((df + 1.0) / 2.0) - math.lgamma(df / 2.0) - 0.5 * math.log(df * math.pi)
    return math.exp(log_scale - (df + 1.0) / 2.0 * math.log1p(t * t / df))


def _normal_deviate(t: float, df: float) -> float:
    """Return the normal deviate as far out as `t`: the relation's leading term (Hill 1970)."""
    b = 48.0 * (df - 0.5) ** 2
    w = math.copysign(math.sqrt((df - 0.5) * math.log1p(t * t / df)), t)
    return (
        w
        + (w**3 + 3.0 * w) / b
        - (4.0 * w**7 + 33.0 * w**5 + 240.0 * w**3 + 855.0 * w)
        / (10.0 * b * (b + 0.8 * w**4 + 100.0))
    )


def regularized_incomplete_beta(a: float, b: float, x: float) -> float:
    """Compute I_x(a, b) by continued fraction (DLMF 8.17.22), for `a`, `b` > 0 and 0 ≤ `x` ≤ 1."""
    if x <= 0.0:
        return 0.0
    if x >= 1.0:
        return 1.0
    if x > (a + 1.0) / (a + b + 2.0):  # the fraction converges fast only below the mean
        return 1.0 - regularized_incomplete_beta(b, a, 1.0 - x)
    log_a_beta = math.lgamma(a + 1.0) + math.lgamma(b) - math.lgamma(a + b)  # of a·B(a, b)
    front = math.exp(a * math.log(x) + b * math.log1p(-x) - log_a_beta)
    return front * _beta_fraction(a, b, x)


def _beta_fraction(a: float, b: float, x: float) -> float:
    """Evaluate 1 / (1 + d1 / (1 + d2 / …)) forwards (modified Lentz)."""
    tiny = 1e-300
    value, numerator, denominator = 1.0, 1.0, 0.0
    for index in range(1, 10_000):
        m, odd = divmod(index, 2)
        if odd:
            term = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        else:
            term = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        denominator = 1.0 / ((1.0 + term * denominator) or tiny)
        numerator = (1.0 + term / numerator) or tiny
        value *= numerator * denominator
        if abs(numerator * denominator - 1.0) < 1e-16:
            break
    return 1.0 / value
