"""The exchange: what became of leases goes in, new leases come out, in one transaction.

The hot path of the queue: everything here is paid per batch, and what is paid per task is kept to
what sqlite itself does for a row.
"""

from __future__ import annotations

import dataclasses
import json
import sqlite3
import time
from collections.abc import Callable, Iterable, Sequence

from nanoeval_core.usage import Usage

from nanoeval_runner._queue import sql, suspects
from nanoeval_runner._queue.connection import get_metadata, in_chunks, transaction
from nanoeval_runner._queue.event_log import EventSink, log_events
from nanoeval_runner._queue.rows import Completion, ExchangeReply, ExchangeRequest, Lease
from nanoeval_runner._queue.states import Demand, ExecutorState, TaskState, share

Clock = Callable[[], float]

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
    now: Clock = time.time,
    monotonic: Clock = time.monotonic,
    sink: EventSink | None = None,
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
                    _complete(connection, request, completions, (now(), monotonic()), sink)
                reply = _claim(connection, request, now(), monotonic())
        except _LeasesLostError:
            kept = _still_leased(connection, request.executor_id, completions)
            rejected = frozenset(c.task_id for c in completions) - kept
            assert rejected, "a completion was not written, yet holds its lease"  # noqa: S101
            completions = [c for c in completions if c.task_id in kept]
        else:
            reply.rejected = rejected
            return reply


def exchange_and_record(
    connection: sqlite3.Connection, request: ExchangeRequest, sink: EventSink
) -> ExchangeReply:
    """`exchange`, with events written to the record before the commit rather than logged."""
    try:
        reply = exchange(connection, request, sink=sink)
    except BaseException:
        sink.settle(committed=False)
        raise
    sink.settle(committed=True)
    return reply


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
    sink: EventSink | None,
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
        log_events(connection, eval_id, group, sink)
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
    connection: sqlite3.Connection, request: ExchangeRequest, now: float, monotonic: float
) -> ExchangeReply:
    (peers,) = connection.execute(sql.COUNT_PEERS, (request.kind,)).fetchone()
    reply = ExchangeReply([], {}, peers)
    demands = []
    ready = set(request.ready_evals)
    rows = connection.execute(sql.RUNNING_EVALS).fetchall()
    for eval_id, queued, leased, limit, kind, draining in rows:
        if kind == request.kind:
            reply.running[eval_id] = limit
            if queued and eval_id in ready and not draining:
                # No claim takes more than its part of what is left: the last tasks of an eval
                # that computes are worth spreading.
                part = -(-queued // peers)
                demands.append(Demand(eval_id, min(queued, part), leased, limit))
    if request.want <= 0 or not demands:
        return reply
    global_limit = get_metadata(connection, "global_limit")
    room = None
    if isinstance(global_limit, int):
        room = global_limit - connection.execute(sql.TOTAL_LEASED).fetchone()[0]
    for eval_id, count in share(request.want, demands, global_room=room).items():
        claimed = _claim_of(connection, request, eval_id, count, now, monotonic)
        if claimed:
            connection.execute(sql.COUNT_CLAIMED, (len(claimed), eval_id))
            reply.leases += claimed
            request.in_flight += len(claimed)
        if len(claimed) < count:
            reply.next_due = _earlier(reply.next_due, _due_in(connection, eval_id, monotonic))
    reply.leases.sort(key=lambda lease: lease.task_id)
    return reply


def _claim_of(
    connection: sqlite3.Connection,
    request: ExchangeRequest,
    eval_id: int,
    count: int,
    now: float,
    monotonic: float,
) -> list[Lease]:
    """Up to `count` leases of one eval's tasks that may start now, first come first."""
    which = (eval_id, monotonic, count)
    first, last, found, retries, losses = connection.execute(sql.SPAN_OF_CLAIM, which).fetchone()
    if not found:
        return []
    if losses or request.losses:
        return suspects.claim(connection, request, which, now)
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
