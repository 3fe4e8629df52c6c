"""Scores that are more than right or wrong: their mean, spread and quantiles."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

from nanoeval_core.metrics.clustered_mean import clustered_mean, question_means
from nanoeval_core.metrics.pass_at_k import best_of_k

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


def summarize_scores(
    scores: Mapping[Any, Sequence[float]],
    *,
    name: str = "score",
    clusters: Mapping[Any, Hashable] | None = None,
    quantiles: Sequence[float] = QUANTILES,
    confidence: float = 0.95,
) -> dict[str, Any]:
    """The mean of per-question means, and how questions are spread around it.

    Args:
        scores: the scores of each question's attempts.
        name: of the scores in the summary.
        clusters: each question's cluster.
        quantiles: which to report, each from 0 to 1.
        confidence: of the interval.

    Returns:
        `{name}` with `_stderr`, `_ci95` and `_n`; `{name}_sd` (of the per-question means, with
        n-1), `{name}_min`, `{name}_max`, and `{name}_quantiles` (quantile → per-question mean).

    Raises:
        ValueError: as `clustered_mean` does.
    """
    estimate = clustered_mean(scores, clusters=clusters, confidence=confidence)
    entries = estimate.as_dict(name)
    means = sorted(question_means(scores).values())
    if means:
        entries[f"{name}_min"], entries[f"{name}_max"] = means[0], means[-1]
        entries[f"{name}_quantiles"] = {f"{q:g}": quantile(means, q) for q in quantiles}
    if len(means) > 1:
        centre = math.fsum(means) / len(means)
        squares = math.fsum((mean - centre) ** 2 for mean in means)
        entries[f"{name}_sd"] = math.sqrt(squares / (len(means) - 1))
    return entries


def quantile(ordered: Sequence[float], q: float) -> float:
    """The quantile of values in ascending order, linear between them (Hyndman & Fan's type 7).

    Raises:
        ValueError: there are no values, or not 0 ≤ q ≤ 1.
    """
    if not ordered or not 0.0 <= q <= 1.0:
        raise ValueError(f"q={q!r} of {len(ordered)} values: need 0 ≤ q ≤ 1 and a value")
    place = q * (len(ordered) - 1)
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])


def best_of_k_mean(
    selector_scores: Mapping[Any, Sequence[float]],
    values: Mapping[Any, Sequence[float]],
    k: int,
    *,
    clusters: Mapping[Any, Hashable] | None = None,
    confidence: float = 0.95,
) -> dict[str, Any]:
    """`best_of@k`: what the attempt that a selector ranks first of `k` is worth, over questions.

    Args:
        selector_scores: what the selector gave each of a question's attempts.
        values: what each attempt is worth, in the same order; 1 for correct and 0 for not.
        k: attempts to choose from.
        clusters: each question's cluster.
        confidence: of the interval.

    Returns:
        `best_of@k` with `_stderr`, `_ci95` and `_n`; when some question has fewer than `k`
        attempts only `unavailable`, which says so.

    Raises:
        ValueError: questions or numbers of attempts differ between the two mappings.
    """
    if selector_scores.keys() != values.keys():
        raise ValueError("selector_scores and values have different questions")
    name = f"best_of@{k}"
    short = sum(len(one) < k for one in values.values())
    if short:
        why = f"{short} of {len(values)} questions have fewer than {k} attempts"
        return {"unavailable": {name: why}}
    expected = {
        question: [best_of_k(selector_scores[question], one, k)] for question, one in values.items()
    }
    return clustered_mean(expected, clusters=clusters, confidence=confidence).as_dict(name)
