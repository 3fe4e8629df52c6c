"""What happened over time, in bounded memory (pure)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

CAPACITY = 600


class Point(NamedTuple):
    """An eval at one moment. Counts are totals since its start; durations are of the last second.

    Attributes:
        at: wall-clock seconds.
        p50, p95: seconds an attempt took, of those that ended lately; None when none did.
        score, low, high: the running score and its interval.
    """

    at: float
    done: int
    failed: int
    retries: int
    in_flight: int
    tokens: int
    p50: float | None = None
    p95: float | None = None
    score: float | None = None
    low: float | None = None
    high: float | None = None


class History:
    """The last points in full and, as they grow many, all of them at a coarser step.

    When `CAPACITY` is reached every second point goes, and from then on only every second new one
    stays: the whole run remains visible at a resolution that fits a plot.
    """

    def __init__(self) -> None:
        self.points: list[Point] = []
        self._every = 1
        self._seen = 0

    def add(self, point: Point) -> None:
        if self._seen % self._every == 0:
            self.points.append(point)
        self._seen += 1
        if len(self.points) >= CAPACITY:
            self.points = self.points[::2]
            self._every *= 2


def quantile(values: Sequence[float], share: float) -> float | None:
    """Return the value that `share` of `values` do not exceed; None without any."""
    if not values:
        return None
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
