"""The running score: sufficient statistics that are kept on disk, so memory does not grow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from nanoeval_core.metrics.clustered_mean import MeanEstimate, estimate_values


class ScoreTally(NamedTuple):
    """How many questions have `attempts` scored attempts that add up to `total`."""

    attempts: int
    total: float
    questions: int


def estimate(tallies: Sequence[ScoreTally]) -> MeanEstimate:
    """Return what `nanoeval_core.metrics.clustered_mean.clustered_mean` says of these questions."""
    attempts = sum(tally.attempts * tally.questions for tally in tallies)
    values = [(tally.total / tally.attempts, tally.questions) for tally in tallies]
    return estimate_values(
        values,
        num_scores=attempts,
        bounded=all(0 <= tally.total <= tally.attempts for tally in tallies),
        plain=attempts == sum(tally.questions for tally in tallies)
        and all(one in (0.0, 1.0) for one, _ in values),
    )
