"""Do two graders agree by more than chance?"""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Hashable, Sequence
from typing import Any, Literal

from nanoeval_core.metrics._student_t import two_sided_z


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Agreement:
    """Cohen's κ of two graders.

    Attributes:
        kappa: (observed - expected) / (1 - expected); None when both gave one and the same label
            throughout, so that chance explains everything.
        stderr: its large-sample standard error; only without weights.
        low: lower end of its interval.
        high: upper end.
        observed: the share of items they agree on, or the weighted agreement.
        expected: what graders with these label frequencies would share by chance.
        n: items both graded.
        missing: items left out because a grader gave no label (None).
        why: why something is None; empty when nothing is.
    """

    kappa: float | None
    stderr: float | None
    low: float | None
    high: float | None
    observed: float
    expected: float
    n: int
    missing: int
    why: str = ""

    def as_dict(self) -> dict[str, Any]:
        """All of it as JSON values; what is None is left out."""
        return {k: v for k, v in dataclasses.asdict(self).items() if v is not None and v != ""}


def cohen_kappa(
    grader_a: Sequence[Hashable | None],
    grader_b: Sequence[Hashable | None],
    *,
    labels: Sequence[Hashable] | None = None,
    weights: Literal["linear", "quadratic"] | None = None,
    confidence: float = 0.95,
) -> Agreement:
    """Cohen's κ (1960), or weighted κ (1968), with the standard error of Fleiss et al. (1969).

    Args:
        grader_a: one grader's labels.
        grader_b: the other's, of the same items in the same order.
        labels: all labels, in order where that matters: for `weights`. By default sorted.
        weights: count near misses of ordered labels as partial agreement.
        confidence: of the interval.

    Raises:
        ValueError: lengths differ, nothing is graded by both, or a label is not in `labels`.
    """
    both = _graded_by_both(grader_a, grader_b)
    place = _places(both, labels)
    n, m = len(both), len(place)
    table = Counter((place[a], place[b]) for a, b in both)
    shares = {cell: number / n for cell, number in table.items()}
    rows = [math.fsum(s for (i, _), s in shares.items() if i == k) for k in range(m)]
    columns = [math.fsum(s for (_, j), s in shares.items() if j == k) for k in range(m)]
    credit = _credits(m, weights)
    observed = math.fsum(share * credit[i][j] for (i, j), share in shares.items())
    expected = math.fsum(rows[i] * columns[j] * credit[i][j] for i in range(m) for j in range(m))
    found: dict[str, Any] = {
        "observed": observed,
        "expected": expected,
        "n": n,
        "missing": len(grader_a) - n,
    }
    if 1.0 - expected <= 1e-12:
        why = "both graders gave one and the same label throughout: chance explains everything"
        return Agreement(kappa=None, stderr=None, low=None, high=None, why=why, **found)
    kappa = (observed - expected) / (1.0 - expected)
    if weights is not None:
        why = "a standard error is given for unweighted κ only"
        return Agreement(kappa=kappa, stderr=None, low=None, high=None, why=why, **found)
    stderr = _stderr(shares, rows, columns, kappa, n)
    margin = two_sided_z(confidence) * stderr
    low, high = max(-1.0, kappa - margin), min(1.0, kappa + margin)
    return Agreement(kappa=kappa, stderr=stderr, low=low, high=high, **found)


def _graded_by_both(
    grader_a: Sequence[Hashable | None], grader_b: Sequence[Hashable | None]
) -> list[tuple[Hashable, Hashable]]:
    if len(grader_a) != len(grader_b):
        raise ValueError(f"{len(grader_a)} labels of one grader, {len(grader_b)} of the other")
    pairs = zip(grader_a, grader_b, strict=True)
    both = [(a, b) for a, b in pairs if a is not None and b is not None]
    if not both:
        raise ValueError("no item was graded by both")
    return both


def _places(
    both: Sequence[tuple[Hashable, Hashable]], labels: Sequence[Hashable] | None
) -> dict[Hashable, int]:
    found = {label for pair in both for label in pair}
    if labels is None:
        ordered: list[Any] = list(found)
        try:
            ordered.sort()
        except TypeError:  # labels of several types have no order of their own
            ordered.sort(key=lambda label: (type(label).__name__, str(label)))
        return {label: index for index, label in enumerate(ordered)}
    unknown = found - set(labels)
    if unknown:
        raise ValueError(f"graders gave labels {sorted(map(repr, unknown))} that are not in labels")
    return {label: index for index, label in enumerate(labels)}


def _credits(m: int, weights: Literal["linear", "quadratic"] | None) -> list[list[float]]:
    """How much agreement it is to give labels i and j: 1 for the same, 0 for the farthest."""
    if weights is None:
        return [[float(i == j) for j in range(m)] for i in range(m)]
    power = 1 if weights == "linear" else 2
    farthest = max(1, m - 1) ** power
    return [[1.0 - abs(i - j) ** power / farthest for j in range(m)] for i in range(m)]


def _stderr(
    shares: dict[tuple[int, int], float],
    rows: Sequence[float],
    columns: Sequence[float],
    kappa: float,
    n: int,
) -> float:
    expected = math.fsum(row * column for row, column in zip(rows, columns, strict=True))
    agreed = math.fsum(
        shares.get((i, i), 0.0) * (1.0 - (rows[i] + columns[i]) * (1.0 - kappa)) ** 2
        for i in range(len(rows))
    )
    differed = (1.0 - kappa) ** 2 * math.fsum(
        share * (columns[i] + rows[j]) ** 2 for (i, j), share in shares.items() if i != j
    )
    chance = (kappa - expected * (1.0 - kappa)) ** 2
    return math.sqrt(max(0.0, agreed + differed - chance) / n) / (1.0 - expected)
