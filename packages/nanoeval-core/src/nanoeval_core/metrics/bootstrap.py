"""A cluster bootstrap interval, for those who would rather resample than trust a formula.

The one metric that needs numpy, which is imported when it is called.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from nanoeval_core.metrics.cluster_variance import group_by_cluster
from nanoeval_core.metrics.clustered_mean import question_means
from nanoeval_core.metrics.intervals import Interval
from nanoeval_core.metrics.student_t import two_sided_z

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_CHUNK = 4_000_000  # resampled clusters held at once: 32 MB


def bootstrap_interval(
    scores: Mapping[Any, Sequence[float]],
    *,
    clusters: Mapping[Any, Hashable] | None = None,
    confidence: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
) -> Interval:
    """The percentile interval of `clustered_mean(scores).mean` (Efron & Tibshirani 1993, ch. 13).

    Whole clusters (questions, without `clusters`) are drawn with replacement. With fewer than
    some 50 of them it covers too little; the default intervals do not.

    Args:
        scores: the scores of each question's attempts.
        clusters: each question's cluster.
        confidence: of the interval.
        resamples: how many times all clusters are drawn.
        seed: the same seed gives the same interval.

    Raises:
        ImportError: numpy is not installed.
        ValueError: there are no scores, one is not finite, or `clusters` lacks a question.
    """
    try:
        import numpy as np  # noqa: PLC0415  heavy, and needed by nothing else
    except ImportError as error:
        raise ImportError(
            "bootstrap_interval needs numpy: pip install 'nanoeval-core[bootstrap]'"
        ) from error
    two_sided_z(confidence)
    if not scores or resamples < 1:
        raise ValueError(f"{len(scores)} questions, resamples={resamples!r}: need at least 1 each")
    groups = group_by_cluster(question_means(scores), clusters)
    totals = np.array([sum(group) for group in groups])
    sizes = np.array([len(group) for group in groups])
    means = _resampled_means(totals, sizes, resamples, np.random.default_rng(seed))
    tail = (1.0 - confidence) / 2.0
    low, high = np.quantile(means, [tail, 1.0 - tail])
    return Interval(float(low), float(high), "bootstrap")


def _resampled_means(
    totals: NDArray[np.float64], sizes: NDArray[np.int64], resamples: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    import numpy as np  # noqa: PLC0415  already imported by the caller

    means = np.empty(resamples)
    step = max(1, _CHUNK // len(totals))
    for start in range(0, resamples, step):
        count = min(step, resamples - start)
        drawn = rng.integers(0, len(totals), size=(count, len(totals)))
        means[start : start + count] = totals[drawn].sum(axis=1) / sizes[drawn].sum(axis=1)
    return means
