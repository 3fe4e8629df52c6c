"""`Sample`: one scored attempt, which is all that the standard metrics look at."""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

from nanoeval_core.metrics.accumulator import Accumulator
from nanoeval_core.metrics.at_k import supported_ks
from nanoeval_core.metrics.clustered_mean import clustered_mean
from nanoeval_core.metrics.consensus import consensus_at_k
from nanoeval_core.metrics.outcomes import Outcome


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One scored attempt at one question.

    Attributes:
        instance: the question's id.
        attempt: the attempt's id, unique within the question.
        is_correct: whether the attempt counts as correct.
        answer_group: what the reply answered, equal for equivalent answers; None for a reply
            that names no answer.
        outcome: what became of the attempt; by default told from `is_correct`.
        cluster: questions with the same cluster are not independent; None when all are.
    """

    instance: Hashable
    attempt: Hashable
    is_correct: bool
    answer_group: Hashable | None = None
    outcome: Outcome | None = None
    cluster: Hashable | None = None


def summarize_samples(
    samples: Sequence[Sample], *, answer_groups: bool = False, confidence: float = 0.95
) -> dict[str, Any]:
    """Return standard metrics of attempts that are correct or not, without any DataFrame.

    What `nanoeval.metrics.accumulator.Accumulator.metrics` returns and, with `answer_groups`,
    `cons@k` for k = 2, 4, … and the fewest attempts that any question has, with `_stderr`, `_ci95`,
    `_n`, and `_method`: whether it is exact.

    So a metric@k exists only where every question has at least k attempts.

    Args:
        samples: in any order; `(instance, attempt)` must be unique.
        answer_groups: whether `answer_group` is filled in.
        confidence: of the intervals; it is also the number in `_ci95`.

    Raises:
        ValueError: an attempt occurs twice, or a question is in several clusters.
    """
    totals = Accumulator(confidence=confidence)
    by_instance: dict[Hashable, dict[Hashable, Sample]] = {}
    for sample in samples:
        attempts = by_instance.setdefault(sample.instance, {})
        if sample.attempt in attempts:
            raise ValueError(
                f"attempt {sample.attempt!r} of instance {sample.instance!r} occurs twice: keep "
                "one row per attempt (the last retry), or give attempts different ids"
            )
        attempts[sample.attempt] = sample
        score, cluster = float(sample.is_correct), sample.cluster
        totals.add(sample.instance, score, outcome=sample.outcome, cluster=cluster)
    metrics = totals.metrics()
    if samples and answer_groups:
        for k in supported_ks(metrics["attempts_per_question"][0])[1:]:  # from 2
            metrics |= _cons_at_k(by_instance, k, totals.clusters, confidence)
    return metrics


def _cons_at_k(
    by_instance: Mapping[Hashable, Mapping[Hashable, Sample]],
    k: int,
    clusters: Mapping[Hashable, Hashable] | None,
    confidence: float,
) -> dict[str, Any]:
    votes = {
        instance: consensus_at_k(
            [sample.answer_group for sample in attempts.values()],
            {s.answer_group: s.is_correct for s in attempts.values() if s.answer_group is not None},
            k,
        )
        for instance, attempts in by_instance.items()
    }
    values = {instance: [vote.value] for instance, vote in votes.items()}
    estimate = clustered_mean(values, clusters=clusters, confidence=confidence)
    draws = [vote.draws for vote in votes.values() if not vote.exact]
    method = "exact"
    if draws:
        method = (
            f"Monte Carlo, {max(draws)} seeded draws, for {len(draws)} of {len(votes)} questions"
        )
    return {**estimate.as_dict(f"cons@{k}"), f"cons@{k}_method": method}


__all__ = ["Sample", "summarize_samples"]
