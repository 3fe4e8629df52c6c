"""The queue's state machine and its decisions: pure functions, the clock passed in.

task:   queued ──claim───▶ leased ──▶ done
          ▲                  │  └───▶ failed   (a system error; a retry is a new queued row)
          └─requeue, death───┘
eval:   queued ──▶ running ──▶ done | failed | stopped   (resume: failed | stopped ──▶ queued)
"""

from __future__ import annotations

import dataclasses
import operator
import random
from collections.abc import Sequence
from enum import StrEnum

MAX_BACKOFF = 5.0
"""Seconds: no retry waits longer, so a recovered system is noticed soon."""

MAX_LOSSES = 3
"""How many executors may die under a task before that counts as a system error of the task."""

LEASE_SECONDS = 15.0
"""How long an executor may stay silent before its tasks go to others."""


START_SECONDS = 120.0
"""How long an executor may take from being announced to its first heartbeat."""


class EvalState(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    STOPPED = "stopped"


class ExecutorState(StrEnum):
    RUNNING = "running"
    STOPPED = "stopped"
    DEAD = "dead"


def retry_delay(
    retry_idx: int, *, max_retries: int, backoff: float, rng: random.Random
) -> float | None:
    """Return seconds to wait before attempt `retry_idx + 1`, or None when there is to be none.

    Exponential backoff with full jitter: uniform in [0, min(5 s, backoff · 2^retry_idx)].
    """
    if retry_idx >= max_retries:
        return None
    return rng.uniform(0.0, min(MAX_BACKOFF, backoff * 2.0 ** min(retry_idx, 32)))


def most_in_flight(losses: int) -> int | None:
    """Return how many tasks may run with one that lost `losses` executors; None is unlimited.

    Every task in flight may have crashed the process. Run again together they would all be blamed
    again; running ever fewer together finds the one that crashes, and the others finish.
    """
    return (None, 64, 8, 1)[min(losses, 3)]


def may_join(
    candidates: Sequence[tuple[int, int]], *, in_flight: int, losses: int
) -> list[tuple[int, int]]:
    """Return the tasks that may join what an executor has in flight, first come first.

    Args:
        candidates: task ids, each with how many executors have died while they ran it.
        in_flight: how many tasks the executor has in flight.
        losses: the most executors that have died while they ran one of those.
    """
    chosen = []
    for task_id, lost in candidates:
        worst = max(losses, lost)
        most = most_in_flight(worst)
        if most is None or in_flight < most:
            chosen.append((task_id, lost))
            in_flight += 1
            losses = worst
    return chosen


def spans_of(ids: Sequence[int]) -> list[tuple[int, int]]:
    """Return rising ids as spans (first, last) without gaps."""
    spans: list[tuple[int, int]] = []
    for i in ids:
        if spans and spans[-1][1] == i - 1:
            spans[-1] = (spans[-1][0], i)
        else:
            spans.append((i, i))
    return spans


@dataclasses.dataclass(frozen=True, slots=True)
class Demand:
    """What one eval could be given now.

    Attributes:
        queued: its queued tasks, those waiting for a retry included.
        leased: its tasks in flight, over all executors.
        limit: its concurrency, None for unlimited.
    """

    eval_id: int
    queued: int
    leased: int
    limit: int | None

    @property
    def room(self) -> int:
        """How many tasks could start."""
        if self.limit is None:
            return self.queued
        return max(0, min(self.queued, self.limit - self.leased))


def share(want: int, demands: Sequence[Demand], *, global_room: int | None) -> dict[int, int]:
    """Divide `want` slots over evals: equal shares, and what one cannot use goes to the others.

    Args:
        want: free slots of the asking executor.
        demands: the evals it can run.
        global_room: how many more tasks the global limit allows, None without one.

    Returns:
        eval id → tasks to claim; evals that get none are left out. No eval gets more than its
        room, and the sum exceeds neither `want` nor `global_room`.
    """
    left = want if global_room is None else min(want, max(0, global_room))
    shares: dict[int, int] = {}
    # Smallest room first: one that needs less than an equal share leaves the rest to the others.
    # Shares are rounded up, so that with fewer slots than evals the least busy get them.
    hungry = sorted(
        filter(operator.attrgetter("room"), demands), key=operator.attrgetter("room", "leased")
    )
    if left < len(hungry):
        hungry.sort(key=operator.attrgetter("leased"))
    for index, demand in enumerate(hungry):
        if left <= 0:
            break
        part = min(demand.room, -(-left // (len(hungry) - index)))
        shares[demand.eval_id] = part
        left -= part
    return shares


CLAIM_SECONDS = 0.01
"""How much of tasks that compute is claimed at a time."""


def next_chunk(chunk: int, *, seconds: float, largest: int, target: float = CLAIM_SECONDS) -> int:
    """Return how many tasks to claim at once, given that starting the last `chunk` took `seconds`.

    Tasks that only wait start within microseconds, and large claims are cheapest. Tasks that
    compute start one after the other: claiming few leaves the rest to idle executors.
    """
    if seconds <= 0:
        return min(chunk * 2, largest)
    ideal = int(chunk * target / seconds)
    return max(1, min(ideal, chunk * 2, largest))
