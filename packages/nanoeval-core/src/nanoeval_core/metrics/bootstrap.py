"""Cluster bootstrap intervals, for what has no formula, or for those who would rather resample.

The one module of metrics that needs numpy, which is imported when it is called.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from nanoeval_core.metrics._student_t import two_sided_z
from nanoeval_core.metrics.cluster_variance import group_by_cluster
from nanoeval_core.metrics.clustered_mean import question_means
from nanoeval_core.metrics.intervals import Interval

if TYPE_CHECKING:
    from types import ModuleType

    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

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
    np = _numpy("bootstrap_interval")
    two_sided_z(confidence)
    if not scores or resamples < 1:
        raise ValueError(f"{len(scores)} questions, resamples={resamples!r}: need at least 1 each")
    groups = group_by_cluster(question_means(scores), clusters)
    parts = np.array([[sum(group), len(group)] for group in groups], dtype=float)
    sums = _resampled_sums(parts, resamples, seed)
    return _percentiles(sums[:, 0] / sums[:, 1], confidence)


def bootstrap_classification(
    expected: Sequence[Hashable],
    predicted: Sequence[Hashable | None],
    *,
    clusters: Sequence[Hashable] | None = None,
    confidence: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
) -> dict[str, Interval]:
    """Percentile intervals of what `classify(expected, predicted)` says of all labels together.

    No formula gives the error of an F1 over labels. As for `bootstrap_interval`, some 50 clusters
    are needed.

    Args:
        expected: the true labels.
        predicted: the labels given; None for a reply that names none.
        clusters: of each prediction, in the same order: give the question's id where questions
            have several attempts. By default all predictions are independent.
        confidence: of the intervals.
        resamples: how many times all clusters are drawn.
        seed: the same seed gives the same intervals.

    Returns:
        `accuracy`, `macro_f1`, `micro_f1` and `weighted_f1`.

    Raises:
        ImportError: numpy is not installed.
        ValueError: there are no predictions, or lengths differ.
    """
    np = _numpy("bootstrap_classification")
    two_sided_z(confidence)
    members = range(len(expected)) if clusters is None else clusters
    if not len(expected) == len(predicted) == len(members) or not expected or resamples < 1:
        raise ValueError(
            f"{len(expected)} expected labels, {len(predicted)} predicted ones, {len(members)} "
            f"clusters, resamples={resamples!r}: need as many of each, and at least 1"
        )
    places = {cluster: place for place, cluster in enumerate(dict.fromkeys(members))}
    labels = dict.fromkeys([*expected, *(one for one in predicted if one is not None)])
    columns = {label: column for column, label in enumerate(labels)}
    counts = np.zeros((len(places), 3, len(columns)))  # hits, claims and support, by label
    for cluster, right, given in zip(members, expected, predicted, strict=True):
        place = counts[places[cluster]]
        place[2, columns[right]] += 1
        if given is not None:
            place[1, columns[given]] += 1
            place[0, columns[given]] += given == right
    sums = _resampled_sums(counts.reshape(len(places), -1), resamples, seed)
    hits, claims, support = sums.reshape(resamples, 3, -1).swapaxes(0, 1)
    below = claims + support
    f1 = np.divide(2 * hits, below, out=np.zeros_like(below), where=below > 0)
    n = support.sum(axis=1)
    values = {
        "accuracy": hits.sum(axis=1) / n,
        "macro_f1": f1.sum(axis=1) / (below > 0).sum(axis=1),
        "micro_f1": 2 * hits.sum(axis=1) / below.sum(axis=1),
        "weighted_f1": (f1 * support).sum(axis=1) / n,
    }
    return {name: _percentiles(found, confidence) for name, found in values.items()}


def _numpy(who: str) -> ModuleType:
    try:
        import numpy as np  # noqa: PLC0415  heavy, and needed by nothing else
    except ImportError as error:
        raise ImportError(f"{who} needs numpy: pip install 'nanoeval-core[bootstrap]'") from error
    return np


def _percentiles(values: Floats, confidence: float) -> Interval:
    tail = (1.0 - confidence) / 2.0
    low, high = _numpy("a bootstrap").quantile(values, [tail, 1.0 - tail])
    return Interval(float(low), float(high), "bootstrap")


def _resampled_sums(parts: Floats, resamples: int, seed: int) -> Floats:
    """Sums of the rows of `parts` (clusters, columns) as drawn: (resamples, columns)."""
    np = _numpy("a bootstrap")
    rng = np.random.default_rng(seed)
    size, columns = parts.shape
    sums: Floats = np.empty((resamples, columns))
    step = max(1, _CHUNK // size)
    for start in range(0, resamples, step):
        count = min(step, resamples - start)
        drawn = rng.integers(0, size, size=(count, size))
        drawn += size * np.arange(count)[:, None]  # so that one count tells how often each is
        times = np.bincount(drawn.ravel(), minlength=count * size).reshape(count, size)
        sums[start : start + count] = times @ parts
    return sums
