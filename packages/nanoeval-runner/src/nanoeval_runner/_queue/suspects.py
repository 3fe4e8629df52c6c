"""Claims of tasks under which executors have died: in ever smaller crowds, until one is alone.

Whatever ran in a process that died may have killed it. Run again together they would all be blamed
again; halving the crowd at each death finds the one that kills within a few deaths, and the others
finish.
"""

from __future__ import annotations

import json
import sqlite3

from nanoeval_runner._queue import sql
from nanoeval_runner._queue.rows import ExchangeRequest, Lease
from nanoeval_runner._queue.states import crowd


def choose(candidates: list[tuple[int, int]], *, in_flight: int, losses: int) -> list[int]:
    """The tasks that may join what an executor has in flight, first come first.

    Args:
        candidates: task ids, and how many executors have died under each.
        in_flight: how many tasks the executor has in flight.
        losses: the most executors that have died under one of those.
    """
    chosen = []
    for task_id, lost in candidates:
        worst = max(losses, lost)
        most = crowd(worst)
        if most is None or in_flight < most:
            chosen.append(task_id)
            in_flight += 1
            losses = worst
    return chosen


def claim(
    connection: sqlite3.Connection,
    request: ExchangeRequest,
    which: tuple[int, float, int],
    now: float,
) -> list[Lease]:
    """Leases of those claimable tasks that may run beside what the executor has.

    Notes in `request` what the executor has then.

    Args:
        which: eval id, monotonic seconds, and how many at most.
    """
    candidates = connection.execute(sql.CLAIMABLE, which).fetchall()
    chosen = choose(candidates, in_flight=request.in_flight, losses=request.losses)
    if not chosen:
        return []
    rows = connection.execute(
        sql.CLAIM_BY_ID, (request.executor_id, now, json.dumps(chosen))
    ).fetchall()
    leases = [Lease(row[0], which[0], *row[1:]) for row in rows]
    request.losses = max(request.losses, *(lease.losses for lease in leases))
    return leases
