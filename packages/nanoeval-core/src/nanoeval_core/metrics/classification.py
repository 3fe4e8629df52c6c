"""Precision, recall and F1 of labels."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Hashable, Sequence
from typing import Any


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class LabelScores:
    """How well one label was found. A ratio with nothing below the line is None, not 0.

    Attributes:
        precision: of the predictions of the label, the share that is right; None if there are
            none.
        recall: of its occurrences, the share that was predicted; None if there are none.
        f1: 2·tp / (2·tp + fp + fn); None for a label that neither occurs nor is predicted.
        support: occurrences.
        predicted: predictions.
    """

    precision: float | None
    recall: float | None
    f1: float | None
    support: int
    predicted: int


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Classification:
    """Labels predicted against labels expected.

    Attributes:
        labels: each label's scores.
        accuracy: the share of all predictions that is right; None without any.
        macro_f1: the mean F1 over labels that occur or are predicted.
        micro_f1: F1 of all decisions together. With an unparsable prediction it differs from
            accuracy.
        weighted_f1: the mean F1, labels weighted by support.
        n: predictions.
        unparsable: predictions of None.
    """

    labels: dict[Any, LabelScores]
    accuracy: float | None
    macro_f1: float | None
    micro_f1: float | None
    weighted_f1: float | None
    n: int
    unparsable: int

    def as_dict(self) -> dict[str, Any]:
        """All of it as JSON values; what is None is left out."""
        entries = {
            name: value for name, value in dataclasses.asdict(self).items() if value is not None
        }
        entries["labels"] = {
            str(label): {k: v for k, v in dataclasses.asdict(scores).items() if v is not None}
            for label, scores in self.labels.items()
        }
        return entries


def classify(expected: Sequence[Hashable], predicted: Sequence[Hashable | None]) -> Classification:
    """Score `predicted` labels against `expected` ones (van Rijsbergen 1979, ch. 7).

    Args:
        expected: the true labels.
        predicted: the labels given; None for a reply that names none, which misses the expected
            label and claims no other.

    Raises:
        ValueError: lengths differ.
    """
    if len(expected) != len(predicted):
        raise ValueError(f"{len(expected)} expected labels, {len(predicted)} predicted ones")
    support = Counter(expected)
    claims = Counter(label for label in predicted if label is not None)
    hits = Counter(e for e, p in zip(expected, predicted, strict=True) if e == p)
    labels = {
        label: _label_scores(hits[label], claims[label], support[label])
        for label in sorted({*support, *claims}, key=lambda label: (str(type(label)), str(label)))
    }
    n, right = len(expected), hits.total()
    f1s = {label: scores.f1 for label, scores in labels.items() if scores.f1 is not None}
    weighted = sum(f1 * support[label] for label, f1 in f1s.items())
    return Classification(
        labels=labels,
        accuracy=_ratio(right, n),
        macro_f1=_ratio(sum(f1s.values()), len(f1s)),
        micro_f1=_ratio(2 * right, n + claims.total()),
        weighted_f1=_ratio(weighted, n),
        n=n,
        unparsable=n - claims.total(),
    )


def _label_scores(hits: int, claims: int, support: int) -> LabelScores:
    return LabelScores(
        precision=_ratio(hits, claims),
        recall=_ratio(hits, support),
        f1=_ratio(2 * hits, claims + support),
        support=support,
        predicted=claims,
    )


def _ratio(part: float, whole: float) -> float | None:
    return part / whole if whole else None
