"""Does the model know when it is right? Probabilities against what happened."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, NamedTuple

from nanoeval_core.metrics.clustered_mean import MeanEstimate, clustered_mean


class Bin(NamedTuple):
    """Predictions of similar probability.

    Attributes:
        low: the bin holds probabilities above this (and 0, in the first bin)
        high: up to this.
        accuracy: the share of them that came true.
    """

    low: float
    high: float
    n: int
    mean_probability: float
    accuracy: float


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Calibration:
    """How well probabilities match outcomes.

    Attributes:
        brier: the mean squared difference of probability and outcome (Brier 1950), over
            questions; with its standard error and interval.
        ece: the expected calibration error (Naeini et al. 2015): the mean over predictions of
            |accuracy - mean probability| of their bin. It depends on the bins, and is above 0 by
            chance even for perfect calibration.
        bins: those that hold predictions, ascending.
        n: predictions.
        missing: attempts without a probability; they are in neither number.
    """

    brier: MeanEstimate
    ece: float
    bins: tuple[Bin, ...]
    n: int
    missing: int

    def as_dict(self) -> dict[str, Any]:
        """Return `brier` with `_stderr`, `_ci95` and `_n`; `ece`, `ece_bins`, and counts."""
        return {
            **self.brier.as_dict("brier"),
            "ece": self.ece,
            "calibration_bins": [found._asdict() for found in self.bins],
            "calibration_n": self.n,
            "calibration_missing": self.missing,
        }


def calibration(
    probabilities: Mapping[Any, Sequence[float | None]],
    correct: Mapping[Any, Sequence[bool]],
    *,
    num_bins: int = 10,
    clusters: Mapping[Any, Hashable] | None = None,
    confidence: float = 0.95,
) -> Calibration | None:
    """Compare the probability of being correct that was recorded with being correct.

    Args:
        probabilities: of each question's attempts, from 0 to 1; None where none was recorded.
        correct: whether each of these attempts was correct, in the same order.
        num_bins: bins of equal width for the expected calibration error.
        clusters: each question's cluster.
        confidence: of the interval.

    Returns:
        None when no attempt has a probability.

    Raises:
        ValueError: a probability is not from 0 to 1, or the mappings do not match.
    """
    if probabilities.keys() != correct.keys() or num_bins < 1:
        raise ValueError(f"num_bins={num_bins!r}: need 1, and the same questions in both mappings")
    pairs: dict[Any, list[tuple[float, bool]]] = {}
    missing = 0
    for question, given in probabilities.items():
        for probability, outcome in zip(given, correct[question], strict=True):
            if probability is None:
                missing += 1
            elif not 0.0 <= probability <= 1.0:
                raise ValueError(f"question {question!r} has the probability {probability!r}")
            else:
                pairs.setdefault(question, []).append((probability, bool(outcome)))
    if not pairs:
        return None
    errors = {q: [(p - outcome) ** 2 for p, outcome in found] for q, found in pairs.items()}
    flat = [pair for found in pairs.values() for pair in found]
    bins = _bins(flat, num_bins)
    gaps = (found.n * abs(found.accuracy - found.mean_probability) for found in bins)
    return Calibration(
        brier=clustered_mean(errors, clusters=clusters, confidence=confidence),
        ece=math.fsum(gaps) / len(flat),
        bins=bins,
        n=len(flat),
        missing=missing,
    )


def _bins(pairs: Sequence[tuple[float, bool]], num_bins: int) -> tuple[Bin, ...]:
    held: dict[int, list[tuple[float, bool]]] = {}
    for probability, outcome in pairs:
        place = max(0, math.ceil(probability * num_bins) - 1)  # (low, high], as is customary
        held.setdefault(place, []).append((probability, outcome))
    return tuple(
        Bin(
            low=place / num_bins,
            high=(place + 1) / num_bins,
            n=len(inside),
            mean_probability=math.fsum(p for p, _ in inside) / len(inside),
            accuracy=sum(outcome for _, outcome in inside) / len(inside),
        )
        for place, inside in sorted(held.items())
    )


__all__ = ["Bin", "Calibration", "calibration"]
