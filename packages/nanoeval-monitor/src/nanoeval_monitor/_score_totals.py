"""The running score: sufficient statistics that are kept on disk, so memory does not grow."""

from __future__ import annotations

from collections.abc import Sequence

from nanoeval_core.metrics.clustered_mean import MeanEstimate, estimate_values

ScoreTally = tuple[int, float, int]
"""Scored attempts of a question, what they add up to, and how many questions have these two."""


def estimate(tallies: Sequence[ScoreTally]) -> MeanEstimate:
    """Return what `nanoeval_core.metrics.clustered_mean.clustered_mean` says of these questions."""
    num_scores = sum(attempts * questions for attempts, _, questions in tallies)
    values = [(total / attempts, questions) for attempts, total, questions in tallies]
    return estimate_values(
        values,
        num_scores=num_scores,
        bounded=all(0 <= total <= attempts for attempts, total, _ in tallies),
        plain=num_scores == sum(questions for *_, questions in tallies)
        and all(one in (0.0, 1.0) for one, _ in values),
    )
