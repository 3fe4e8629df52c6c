"""`Sample`: one scored attempt, which is all that the standard metrics look at."""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable, Sequence
from typing import Any

from nanoeval_core.metrics.clustered_mean import clustered_mean
from nanoeval_core.metrics.consensus import consensus_at_k
from nanoeval_core.metrics.outcomes import Outcome, count_outcomes
from nanoeval_core.metrics.pass_at_k import pass_at_k, pass_hat_k


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
    """Standard metrics of attempts that are correct or not, without any DataFrame.

    Each of these is a mean of per-question values and has `…_stderr`, `…_ci95` and `…_n` beside
    it:

    - `accuracy`;
    - `pass@k`, for k = 1, 2, 4, … and the fewest attempts that any question has;
    - `pass^k`, for the same k from 2;
    - `cons@k`, for the same k from 2, with `answer_groups`; `cons@k_method` says whether it is
      exact.

    So a metric@k exists only where every question has at least k attempts. Also: `n` (questions),
    `num_attempts`, `attempts_per_question` (fewest and most), `counts`, and `unavailable`, which
    says why what one might look for is missing.

    Args:
        samples: in any order; `(instance, attempt)` must be unique.
        answer_groups: whether `answer_group` is filled in.
        confidence: of the intervals; other than 0.95 changes `_ci95` accordingly.

    Raises:
        ValueError: an attempt occurs twice, or a question has several clusters.
    """
    by_instance = _by_instance(samples)
    clusters = _clusters(samples)
    counts = count_outcomes(_outcome(sample) for sample in samples)
    summary: dict[str, Any] = {"n": len(by_instance), "num_attempts": len(samples)}
    unavailable: dict[str, str] = {}

    def report(name: str, values: dict[Hashable, list[float]]) -> None:
        estimate = clustered_mean(values, clusters=clusters, confidence=confidence)
        summary.update(estimate.as_dict(name))
        if estimate.why:
            unavailable[name if estimate.mean is None else f"{name}_stderr"] = estimate.why

    report(
        "accuracy",
        {key: [float(s.is_correct) for s in group] for key, group in by_instance.items()},
    )
    if by_instance:
        attempts = [len(group) for group in by_instance.values()]
        summary["attempts_per_question"] = [min(attempts), max(attempts)]
        for k in ks_up_to(min(attempts)):
            tallies = {i: (len(g), sum(s.is_correct for s in g)) for i, g in by_instance.items()}
            report(f"pass@{k}", {i: [pass_at_k(n, c, k)] for i, (n, c) in tallies.items()})
            if k > 1:
                report(f"pass^{k}", {i: [pass_hat_k(n, c, k)] for i, (n, c) in tallies.items()})
            if k > 1 and answer_groups:
                votes = {i: _consensus(group, k) for i, group in by_instance.items()}
                report(f"cons@{k}", {i: [value] for i, (value, _) in votes.items()})
                summary[f"cons@{k}_method"] = _consensus_method([d for _, d in votes.values()])
        if max(attempts) > min(attempts):
            unavailable[f"metrics@k for k > {min(attempts)}"] = (
                f"{sum(a == min(attempts) for a in attempts)} of {len(attempts)} questions have "
                f"only {min(attempts)} attempt(s)"
            )
    return {**summary, "counts": counts.as_dict(), "unavailable": unavailable}


def ks_up_to(attempts: int) -> list[int]:
    """1, 2, 4, … below `attempts`, and `attempts` itself."""
    powers = [1 << bit for bit in range(attempts.bit_length())]
    return sorted({*(k for k in powers if k <= attempts), attempts})


def _by_instance(samples: Sequence[Sample]) -> dict[Hashable, list[Sample]]:
    groups: dict[Hashable, dict[Hashable, Sample]] = {}
    for sample in samples:
        attempts = groups.setdefault(sample.instance, {})
        if sample.attempt in attempts:
            raise ValueError(
                f"attempt {sample.attempt!r} of instance {sample.instance!r} occurs twice: keep "
                "one row per attempt (the last retry), or give attempts different ids"
            )
        attempts[sample.attempt] = sample
    return {instance: list(attempts.values()) for instance, attempts in groups.items()}


def _clusters(samples: Sequence[Sample]) -> dict[Hashable, Hashable] | None:
    """Each question's cluster; a question without one is its own."""
    if all(sample.cluster is None for sample in samples):
        return None
    clusters: dict[Hashable, Hashable] = {}
    for sample in samples:
        cluster = ("alone", sample.instance) if sample.cluster is None else (sample.cluster,)
        if clusters.setdefault(sample.instance, cluster) != cluster:
            raise ValueError(f"instance {sample.instance!r} has attempts in different clusters")
    return clusters


def _outcome(sample: Sample) -> Outcome:
    if sample.outcome is not None:
        return sample.outcome
    return Outcome.CORRECT if sample.is_correct else Outcome.INCORRECT


def _consensus(group: Sequence[Sample], k: int) -> tuple[float, int]:
    answers = [sample.answer_group for sample in group]
    correct = {s.answer_group: s.is_correct for s in group if s.answer_group is not None}
    return consensus_at_k(answers, correct, k)


def _consensus_method(draws: Sequence[int]) -> str:
    sampled = [number for number in draws if number]
    if not sampled:
        return "exact"
    return f"Monte Carlo, {max(sampled)} seeded draws, for {len(sampled)} of {len(draws)} questions"
