"""When a run will be over, also where a few tasks take very much longer than most.

A rate says little then: the queue empties early, and the run ends with its longest tasks. So the
time a task takes is estimated from those that are over *and* those still running (Kaplan and Meier
1958: what still runs is known to take longer than it has), and what is left is scheduled on the
slots there are. Pure: times come in as seconds.
"""

from __future__ import annotations

import heapq
import math
import random
from bisect import bisect_left
from collections.abc import Sequence
from typing import NamedTuple

DRAWS = 4000
"""Task times drawn for one forecast: some milliseconds of work."""
MOST_TRIALS = 15


class Survival:
    """The share of tasks that take longer than a time, a step function that falls.

    Args:
        finished: how long finished tasks took.
        running: how long others have been running.
        weights: how many tasks each of `finished` and each of `running` stands for.
    """

    def __init__(
        self,
        finished: Sequence[float],
        running: Sequence[float],
        weights: tuple[float, float] = (1.0, 1.0),
    ) -> None:
        marks = sorted([(t, 0) for t in finished] + [(t, 1) for t in running])
        at_risk = len(finished) * weights[0] + len(running) * weights[1]
        self.times: list[float] = []
        self.shares: list[float] = []  # after each of `times`
        share = 1.0
        for time, is_censored in marks:
            if not is_censored:
                share *= max(0.0, 1 - weights[0] / at_risk)
                self.times.append(time)
                self.shares.append(share)
            at_risk -= weights[is_censored]
        self._falling = [-s for s in self.shares]
        self._longest = marks[-1][0] if marks else 0.0
        self._rest = share
        mean = math.fsum(finished) / len(finished) if finished else 0.0
        # Nothing is known beyond the longest time seen; a task there is taken to need as long
        # again as a third of that.
        self._beyond = max(mean, self._longest / 3)

    def longer_than(self, time: float) -> float:
        """The share of tasks that take longer than `time`."""
        index = bisect_left(self.times, time + 1e-12)
        return self.shares[index - 1] if index else 1.0

    def at(self, share: float) -> float:
        """The time that a `share` of tasks exceeds."""
        index = bisect_left(self._falling, -share)
        if index < len(self.times):
            return self.times[index]
        if self._rest <= 0 or share <= 0:
            return self._longest
        return self._longest + self._beyond * -math.log(share / self._rest)


class Work(NamedTuple):
    """What is left of a run, in tasks and seconds.

    Attributes:
        finished: how long a sample of the finished tasks took.
        ages: how long a sample of those in flight have been running.
        done: how many have finished.
        in_flight: how many are in flight.
        queued: how many wait.
        limit: how many may be in flight; None when that is not limited.
    """

    finished: Sequence[float]
    ages: Sequence[float]
    done: int
    in_flight: int
    queued: int
    limit: int | None


def seconds_left(work: Work, *, seed: int = 0) -> float | None:
    """Seconds until all is done, or None while no task has finished."""
    if not work.finished:
        return None
    slots = work.limit if work.limit is not None else work.in_flight + work.queued
    # What never filled its limit will not do so later: the machine is what limits it.
    if work.queued and 0 < work.in_flight < slots:
        slots = work.in_flight
    slots = max(1, min(slots, work.in_flight + work.queued))
    weights = (
        max(1.0, work.done / len(work.finished)),
        max(1.0, work.in_flight / max(1, len(work.ages))),
    )
    survival = Survival(work.finished, work.ages, weights)
    rng = random.Random(seed)
    simulated = min(work.queued, max(DRAWS - work.in_flight, 2 * slots, 100))
    trials = max(1, min(MOST_TRIALS, DRAWS // max(1, simulated + work.in_flight)))
    ends = sorted(_schedule(survival, work, simulated, slots, rng) for _ in range(trials))
    return ends[len(ends) // 2]


def _schedule(
    survival: Survival, work: Work, simulated: int, slots: int, rng: random.Random
) -> float:
    ages = work.ages or [0.0]
    busy = []
    for index in range(min(work.in_flight, slots)):
        age = ages[index % len(ages)]
        still = survival.longer_than(age) or 1e-9
        busy.append(max(0.0, survival.at(still * (1 - rng.random())) - age))
    busy += [0.0] * (slots - len(busy))
    heapq.heapify(busy)
    drawn = 0.0
    for _ in range(simulated):
        time = survival.at(1 - rng.random())
        drawn += time
        heapq.heapreplace(busy, busy[0] + time)
    # Those not drawn one by one take the mean, on all slots alike.
    more = (work.queued - simulated) * (drawn / simulated) / slots if simulated else 0.0
    return max(busy) + more
