"""The exchange: what became of leases goes in, new leases come out, in one transaction.

The hot path of the queue: everything here is paid per batch, and what is paid per task is kept to
what sqlite itself does for a row.
"""

from __future__ import annotations

import dataclasses
import json
import sqlite3
import time
from collections.abc import Callable, Iterable, Mapping, Sequence

from nanoeval_core.usage import Usage

from nanoeval_runner._queue import sql
from nanoeval_runner._queue.connection import get_metadata, in_chunks, transaction
from nanoeval_runner._queue.event_log import log_events
from nanoeval_runner._queue.event_segments import SegmentWriter
from nanoeval_runner._queue.rows import Completion, ExchangeReply, ExchangeRequest, Lease
from nanoeval_runner._queue.states import Demand, ExecutorState, TaskState, may_join, share

Clock = Callable[[], float]

BeforeCommit = Callable[[Sequence[Completion]], Mapping[int, str]]
"""What the caller does with completions just before they are committed.

It runs on the connection's thread, after everything else in the transaction, and returns the
record's new position for each eval whose events it has written itself; those of other evals are
logged. When it raises, or the commit fails, so does `exchange`, and nothing is committed.
"""

_STATE_OF_OUTCOME: dict[str, str] = {
    "done": TaskState.DONE.value,
    "error": TaskState.FAILED.value,
    "fatal": TaskState.QUEUED.value,
    "released": TaskState.QUEUED.value,
}


class _LeasesLostError(Exception):
    """Some completions no longer hold their lease."""


def exchange(
    connection: sqlite3.Connection,
    request: ExchangeRequest,
    before_commit: BeforeCommit | None = None,
    segments: SegmentWriter | None = None,
    *,
    now: Clock = time.time,
    monotonic: Clock = time.monotonic,
) -> ExchangeReply:
    """Write what became of leases and hand out new ones, in one transaction.

    Completions whose lease was lost (their executor had been declared dead) leave no trace.
    """
    completions = request.completions
    rejected: frozenset[int] = frozenset()
    while True:
        try:
            with transaction(connection):
                (state,) = connection.execute(
                    sql.GET_EXECUTOR_STATE, (request.executor_id,)
                ).fetchone()
                if state != ExecutorState.RUNNING.value:
                    lost = frozenset(c.task_id for c in completions)
                    return ExchangeReply([], {}, rejected=lost, fenced=True)
                if completions:
                    _complete(connection, request, completions, (now(), monotonic()))
                reply = _claim(connection, request, rejected, now(), monotonic())
                if completions:
                    _record(connection, completions, before_commit, segments)
        except _LeasesLostError:
            kept = _still_leased(connection, request.executor_id, completions)
            rejected = frozenset(c.task_id for c in completions) - kept
            assert rejected, "a completion was not written, yet holds its lease"  # noqa: S101
            completions = [c for c in completions if c.task_id in kept]
        else:
            return reply


def _record(
    connection: sqlite3.Connection,
    completions: Sequence[Completion],
    before_commit: BeforeCommit | None,
    segments: SegmentWriter | None,
) -> None:
    """Have the caller write the events of `completions` to their records, and log the others."""
    positions = {} if before_commit is None else before_commit(completions)
    for eval_id, position in positions.items():
        connection.execute(sql.SET_RECORD_POSITION, (position, eval_id))
    to_log: dict[int, list[bytes]] = {}
    for c in completions:
        if c.events and c.eval_id not in positions:
            to_log.setdefault(c.eval_id, []).append(c.events)
    for eval_id, events in to_log.items():
        log_events(connection, eval_id, events, segments)


def _still_leased(
    connection: sqlite3.Connection, executor_id: int, completions: Iterable[Completion]
) -> set[int]:
    ids = json.dumps([c.task_id for c in completions])
    return {row[0] for row in connection.execute(sql.STILL_LEASED, (ids, executor_id))}


def _complete(
    connection: sqlite3.Connection,
    request: ExchangeRequest,
    completions: Sequence[Completion],
    clocks: tuple[float, float],
) -> None:
    now, monotonic = clocks
    by_eval: dict[int, list[Completion]] = {}
    for c in completions:
        by_eval.setdefault(c.eval_id, []).append(c)
    values = [
        value
        for c in completions
        for value in (
            c.task_id,
            _STATE_OF_OUTCOME[c.outcome],
            None if c.outcome == "fatal" else c.value,
        )
    ]
    written = 0
    for size, position in in_chunks(len(completions)):
        chunk = values[3 * position : 3 * (position + size)]
        cursor = connection.execute(sql.complete_tasks(size), (now, *chunk, request.executor_id))
        written += cursor.rowcount
    if written != len(completions):
        raise _LeasesLostError
    for eval_id, group in by_eval.items():
        _count(connection, eval_id, group)
        if request.with_payload:
            _log_results(connection, eval_id, group)
        for c in group:
            if c.outcome == "done":
                continue
            if c.outcome == "error" and c.retry_delay is not None:
                connection.execute(sql.INSERT_RETRY, (monotonic + c.retry_delay, c.task_id))
            elif c.outcome == "fatal":
                connection.execute(sql.FAIL_EVAL, (c.value, eval_id))


def _count(connection: sqlite3.Connection, eval_id: int, group: Sequence[Completion]) -> None:
    others = [c for c in group if c.outcome != "done"]
    failed = sum(c.outcome == "error" and c.retry_delay is None for c in others)
    retries = sum(c.outcome == "error" and c.retry_delay is not None for c in others)
    usage = Usage()
    for spent in [c.usage for c in group if c.usage is not None]:
        usage += spent
    connection.execute(
        sql.COUNT_COMPLETED,
        {
            "id": eval_id,
            "leased": len(group),
            "done": len(group) - len(others),
            "failed": failed,
            "queued": len(others) - failed,
            "retries": retries,
        },
    )
    if usage != Usage():
        connection.execute(sql.COUNT_USAGE, {**dataclasses.asdict(usage), "id": eval_id})


def _log_results(connection: sqlite3.Connection, eval_id: int, group: Sequence[Completion]) -> None:
    """Name the results that the driver has yet to read: another process commits them."""
    final = [c.task_id for c in group if c.is_final]
    if final:
        connection.execute(sql.LOG_RESULTS, (eval_id, json.dumps(final)))


def _claim(
    connection: sqlite3.Connection,
    request: ExchangeRequest,
    rejected: frozenset[int],
    now: float,
    monotonic: float,
) -> ExchangeReply:
    (peers,) = connection.execute(sql.COUNT_PEERS, (request.pool,)).fetchone()
    running: dict[int, int | None] = {}
    leases: list[Lease] = []
    next_due: float | None = None
    demands = []
    ready = set(request.ready_evals)
    rows = connection.execute(sql.RUNNING_EVALS).fetchall()
    for eval_id, queued, leased, limit, pool, draining in rows:
        if pool == request.pool:
            running[eval_id] = limit
            if queued and eval_id in ready and not draining:
                # No claim takes more than its part of what is left: the last tasks of an eval
                # that computes are worth spreading.
                part = -(-queued // peers)
                demands.append(Demand(eval_id, min(queued, part), leased, limit))
    if request.want > 0 and demands:
        global_limit = get_metadata(connection, "global_limit")
        room = None
        if isinstance(global_limit, int):
            room = global_limit - connection.execute(sql.TOTAL_LEASED).fetchone()[0]
        in_flight, losses = request.in_flight, request.losses
        for eval_id, count in share(request.want, demands, global_room=room).items():
            which = (eval_id, monotonic, count)
            claimed = _claim_of(connection, request, which, now, in_flight, losses)
            if claimed:
                connection.execute(sql.COUNT_CLAIMED, (len(claimed), eval_id))
                leases += claimed
                in_flight += len(claimed)
                losses = max(losses, *(lease.losses for lease in claimed), 0)
            if len(claimed) < count:
                next_due = _earlier(next_due, _due_in(connection, eval_id, monotonic))
        leases.sort(key=lambda lease: lease.task_id)
    return ExchangeReply(leases, running, peers, rejected, next_due)


def _claim_of(
    connection: sqlite3.Connection,
    request: ExchangeRequest,
    which: tuple[int, float, int],
    now: float,
    in_flight: int,
    losses: int,
) -> list[Lease]:
    """Up to `count` leases of one eval's tasks that may start now, first come first."""
    eval_id = which[0]
    first, last, found, retries, worst = connection.execute(sql.SPAN_OF_CLAIM, which).fetchone()
    if not found:
        return []
    if worst or losses:
        candidates = connection.execute(sql.CLAIMABLE, which).fetchall()
        chosen = [i for i, _ in may_join(candidates, in_flight=in_flight, losses=losses)]
        claim = (request.executor_id, now, json.dumps(chosen))
        rows = connection.execute(sql.CLAIM_BY_ID, claim).fetchall()
        return [Lease(row[0], eval_id, *row[1:]) for row in rows]
    if last - first + 1 == found:
        span = (request.executor_id, now, first, last)
        if request.with_payload:
            rows = connection.execute(sql.CLAIM_RANGE_WITH_PAYLOAD, span).fetchall()
            return [Lease(row[0], eval_id, *row[1:]) for row in rows]
        if not retries:
            connection.execute(sql.CLAIM_RANGE, span)
            return [Lease(task_id, eval_id, 0) for task_id in range(first, last + 1)]
    statement = sql.CLAIM_WITH_PAYLOAD if request.with_payload else sql.CLAIM
    rows = connection.execute(statement, (*which, request.executor_id, now)).fetchall()
    return [Lease(row[0], eval_id, *row[1:]) for row in rows]


def _earlier(a: float | None, b: float | None) -> float | None:
    return b if a is None else a if b is None else min(a, b)


def _due_in(connection: sqlite3.Connection, eval_id: int, monotonic: float) -> float | None:
    (due,) = connection.execute(sql.NEXT_DUE, (eval_id,)).fetchone()
    return None if due is None else max(0.0, due - monotonic)
