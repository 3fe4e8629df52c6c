"""The exchange: what became of leases goes in, new leases come out, in one transaction.

The hot path of the queue: everything here is paid per batch, and what is paid per task is kept to
what sqlite itself does for a row.
"""

from __future__ import annotations

import dataclasses
import json
import operator
import sqlite3
import time
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from nanoeval_core.usage import Usage

from nanoeval_runner._queue import sql
from nanoeval_runner._queue.connection import get_metadata, in_chunks, transaction
from nanoeval_runner._queue.event_log import log_events
from nanoeval_runner._queue.event_segments import SegmentWriter
from nanoeval_runner._queue.rows import Completion, ExchangeReply, ExchangeRequest, Lease
from nanoeval_runner._queue.states import (
    LEASE_SECONDS,
    Demand,
    ExecutorState,
    may_join,
    share,
    spans_of,
)

Clock = Callable[[], float]

BeforeCommit = Callable[[Sequence[Completion]], Mapping[int, str]]
"""What the caller does with completions just before they are committed.

It runs on the connection's thread, once, after everything else in the transaction, and returns the
record's new position for each eval whose events it has written itself; those of other evals are
logged. When it raises, or the commit fails, so does `exchange`, and nothing is committed.
"""


class LeaseSpan(NamedTuple):
    """Ids that one claim leased; `unfinished` of them have no result yet."""

    first: int
    last: int
    unfinished: int
    executor_id: int
    eval_id: int
    losses: int
    leased_at: float


class _LeasesLostError(Exception):
    """Some completions do not hold their lease."""


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
                clocks = now(), monotonic()
                if not _is_alive(connection, request.executor_id, clocks[1]):
                    lost = frozenset(c.task_id for c in completions)
                    return ExchangeReply([], {}, rejected=lost, fenced=True)
                if completions:
                    _complete(connection, request, completions, clocks)
                reply = _claim(connection, request, rejected, clocks)
                if completions:
                    _record(connection, completions, before_commit, segments)
        except _LeasesLostError:
            kept = _still_leased(connection, request.executor_id, completions)
            rejected |= {c.task_id for c in completions if c.task_id not in kept}
            assert len(kept) < len(completions), "not written, yet leased"  # noqa: S101
            completions = [c for c in completions if c.task_id in kept]
        else:
            return reply


def _is_alive(connection: sqlite3.Connection, executor_id: int, monotonic: float) -> bool:
    """Whether the executor may go on. The long lease it started with is shortened now."""
    state, lease_until = connection.execute(sql.GET_EXECUTOR, (executor_id,)).fetchone()
    if state != ExecutorState.RUNNING:
        return False
    if lease_until > monotonic + LEASE_SECONDS:
        connection.execute(sql.RENEW_LEASES, (monotonic + LEASE_SECONDS, executor_id))
    return True


# --- what became of leases


def _complete(
    connection: sqlite3.Connection,
    request: ExchangeRequest,
    completions: Sequence[Completion],
    clocks: tuple[float, float],
) -> None:
    now, monotonic = clocks
    held = _held(connection, request.executor_id, completions)
    values: list[object] = []
    returned: list[list[int]] = []
    for span, group in held:
        leased_at = span.leased_at
        without_result = []
        for c in group:
            if c.outcome == "done":
                values += (c.task_id, "done", leased_at, c.value)
            elif c.outcome == "error":
                state = "failed" if c.retry_delay is None else "retried"
                values += (c.task_id, state, leased_at, c.value)
            else:
                without_result.append(c.task_id)
        returned.append(without_result)
    _insert_results(connection, request.executor_id, now, values)
    for (span, group), without_result in zip(held, returned, strict=True):
        shrink(connection, span, without_result, len(group))
    by_eval: dict[int, list[Completion]] = {}
    for c in completions:
        by_eval.setdefault(c.eval_id, []).append(c)
    for eval_id, group in by_eval.items():
        others = [c for c in group if c.outcome != "done"]
        _count(connection, eval_id, group, others)
        _requeue(connection, eval_id, others, monotonic)
        if request.with_payload:  # another process commits them: the driver has yet to read them
            final = [c.task_id for c in group if c.is_final]
            if final:
                connection.execute(sql.LOG_RESULTS, (eval_id, json.dumps(final)))


def _requeue(
    connection: sqlite3.Connection, eval_id: int, others: Sequence[Completion], monotonic: float
) -> None:
    """Queue the retries of attempts that ended in a system error; fail the eval if one must."""
    for c in others:
        if c.outcome == "error" and c.retry_delay is not None:
            retry = connection.execute(sql.INSERT_RETRY, (c.task_id,)).lastrowid
            connection.execute(sql.REQUEUE, (retry, eval_id, monotonic + c.retry_delay, 0))
        elif c.outcome == "fatal":
            connection.execute(sql.FAIL_EVAL, (c.value, eval_id))


def _insert_results(
    connection: sqlite3.Connection, executor_id: int, now: float, values: Sequence[object]
) -> None:
    """Store (task id, state, leased at, value) × n."""
    try:
        for size, position in in_chunks(len(values) // 4):
            chunk = values[4 * position : 4 * (position + size)]
            connection.execute(sql.insert_results(size), (executor_id, now, *chunk))
    except sqlite3.IntegrityError as error:  # one of them has a result already
        raise _LeasesLostError from error


def _held(
    connection: sqlite3.Connection, executor_id: int, completions: Sequence[Completion]
) -> list[tuple[LeaseSpan, list[Completion]]]:
    """Return the executor's lease spans that hold these tasks, each with what became of its own.

    Raises:
        _LeasesLostError: some are held by none.
    """
    ordered = sorted(completions, key=operator.attrgetter("task_id"))
    ids = [c.task_id for c in ordered]
    held = []
    start = 0
    while start < len(ids):
        span = find_lease_span(connection, ids[start])
        if span is None or span.executor_id != executor_id:
            raise _LeasesLostError
        end = bisect_right(ids, span.last, start)
        held.append((span, ordered[start:end]))
        start = end
    return held


def find_lease_span(connection: sqlite3.Connection, task_id: int) -> LeaseSpan | None:
    """Return the span that holds a task; it may have a result by now."""
    row = connection.execute(sql.FIND_LEASE_SPAN, (task_id,)).fetchone()
    return LeaseSpan(*row) if row is not None and task_id <= row[1] else None


def unfinished_in(connection: sqlite3.Connection, span: LeaseSpan) -> list[int]:
    """Return the ids in a span that have no result."""
    found = connection.execute(sql.FINISHED_IN_SPAN, (span.first, span.last))
    finished = {task_id for (task_id,) in found}
    return [i for i in range(span.first, span.last + 1) if i not in finished]


def shrink(
    connection: sqlite3.Connection, span: LeaseSpan, returned: Sequence[int], ended: int
) -> None:
    """Take `ended` tasks out of a span; those in `returned` have no result and are queued again."""
    if not returned:
        if span.unfinished > ended:
            connection.execute(sql.SET_UNFINISHED, (span.unfinished - ended, span.first))
        else:
            connection.execute(sql.DELETE_LEASE_SPAN, (span.first,))
        return
    unfinished = unfinished_in(connection, span)
    rest = sorted(set(unfinished) - set(returned))
    if len(rest) + len(returned) != len(unfinished):
        raise _LeasesLostError  # one of them has a result
    connection.execute(sql.DELETE_LEASE_SPAN, (span.first,))
    for first, last in spans_of(rest):
        part = span._replace(first=first, last=last, unfinished=last - first + 1)
        connection.execute(sql.ADD_LEASE_SPAN, part)
    again = [(i, span.eval_id, 0.0, span.losses) for i in returned]
    connection.executemany(sql.REQUEUE, again)


def _still_leased(
    connection: sqlite3.Connection, executor_id: int, completions: Sequence[Completion]
) -> set[int]:
    """Return the ids of those completions whose lease the executor holds."""
    kept = set()
    for c in completions:
        span = find_lease_span(connection, c.task_id)
        if span is not None and span.executor_id == executor_id:
            ids = (c.task_id, c.task_id)
            if connection.execute(sql.FINISHED_IN_SPAN, ids).fetchone() is None:
                kept.add(c.task_id)
    return kept


def _count(
    connection: sqlite3.Connection,
    eval_id: int,
    group: Sequence[Completion],
    others: Sequence[Completion],
) -> None:
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


# --- new leases


def _claim(
    connection: sqlite3.Connection,
    request: ExchangeRequest,
    rejected: frozenset[int],
    clocks: tuple[float, float],
) -> ExchangeReply:
    (peers,) = connection.execute(sql.COUNT_PEERS, (request.pool,)).fetchone()
    running: dict[int, int | None] = {}
    demands = []
    ready = set(request.ready_evals)
    rows = connection.execute(sql.RUNNING_EVALS).fetchall()
    for eval_id, queued, leased, limit, pool, draining in rows:
        if pool == request.pool and (queued or leased):
            running[eval_id] = limit
            if queued and eval_id in ready and not draining:
                # No claim takes more than its part of what is left: the last tasks of an eval
                # that computes are worth spreading.
                part = -(-queued // peers)
                demands.append(Demand(eval_id, min(queued, part), leased, limit))
    leases: list[Lease] = []
    next_due: float | None = None
    if request.want > 0 and demands:
        global_limit = get_metadata(connection, "global_limit")
        room = None
        if isinstance(global_limit, int):
            room = global_limit - connection.execute(sql.TOTAL_LEASED).fetchone()[0]
        losses = request.losses
        for eval_id, count in share(request.want, demands, global_room=room).items():
            in_flight = request.in_flight + len(leases)
            claimed = _claim_of(connection, request, eval_id, count, (in_flight, losses), clocks)
            leases += claimed
            losses = max([losses, *(lease.losses for lease in claimed if lease.losses)])
            if len(claimed) < count:
                (due,) = connection.execute(sql.NEXT_DUE, (eval_id, clocks[1])).fetchone()
                if due is not None and (next_due is None or due - clocks[1] < next_due):
                    next_due = due - clocks[1]
        leases.sort(key=operator.attrgetter("task_id"))
    return ExchangeReply(leases, running, peers, rejected, next_due)


def _claim_of(
    connection: sqlite3.Connection,
    request: ExchangeRequest,
    eval_id: int,
    count: int,
    company: tuple[int, int],
    clocks: tuple[float, float],
) -> list[Lease]:
    """Lease up to `count` tasks of one eval that may start now: the released, the new, retries.

    Args:
        company: how many tasks the executor has in flight, and the most executors that died while
            they ran one of those.
    """
    in_flight, losses = company
    due = connection.execute(sql.DUE, (eval_id, clocks[1], count)).fetchall()
    fresh = _next_spans(connection, eval_id, count)
    chosen = [(task_id, lost) for task_id, not_before, lost in due if not_before == 0]
    new = min(count - len(chosen), sum(last - first + 1 for first, last in fresh))
    retries = [(task_id, lost) for task_id, not_before, lost in due if not_before > 0]
    retries = retries[: count - len(chosen) - new]
    if losses or any(lost for _, _, lost in due):
        # New tasks are candidates like others; those that may join are the first of them.
        candidates = [*chosen, *((0, 0) for _ in range(new)), *retries]
        joining = may_join(candidates, in_flight=in_flight, losses=losses)
        new = joining.count((0, 0))
        chosen = [candidate for candidate in joining if candidate[0]]
    else:
        chosen += retries
    leases: list[Lease] = []
    for first, last in fresh:
        end = min(last, first + new - 1)
        if end < first:
            break
        new -= end - first + 1
        if end == last:
            connection.execute(sql.DELETE_QUEUE_SPAN, (eval_id, first))
        else:
            connection.execute(sql.MOVE_CURSOR, (end + 1, eval_id, first))
        leases += _lease(connection, request, eval_id, (first, end), 0, clocks[0], is_new=True)
    chosen.sort()
    for lost in {lost for _, lost in chosen}:
        ids = [task_id for task_id, its in chosen if its == lost]
        connection.executemany(sql.DELETE_REQUEUED, [(i,) for i in ids])
        for span in spans_of(ids):
            leases += _lease(connection, request, eval_id, span, lost, clocks[0], is_new=False)
    if leases:
        connection.execute(sql.COUNT_CLAIMED, {"count": len(leases), "id": eval_id})
    return leases


def _next_spans(connection: sqlite3.Connection, eval_id: int, count: int) -> list[tuple[int, int]]:
    """Return the spans that hold the next `count` tasks of an eval that were never leased."""
    spans = []
    for first, last in connection.execute(sql.QUEUE_SPANS, (eval_id, count)):
        spans.append((first, last))
        count -= last - first + 1
        if count <= 0:
            break
    return spans


def _lease(
    connection: sqlite3.Connection,
    request: ExchangeRequest,
    eval_id: int,
    ids: tuple[int, int],
    losses: int,
    now: float,
    *,
    is_new: bool,
) -> list[Lease]:
    first, last = ids
    span = LeaseSpan(first, last, last - first + 1, request.executor_id, eval_id, losses, now)
    connection.execute(sql.ADD_LEASE_SPAN, span)
    if is_new and not request.with_payload:  # the driver has what it listed in memory
        return [Lease(task_id, eval_id, 0) for task_id in range(first, last + 1)]
    rows = connection.execute(sql.DATA_OF_SPAN, ids)
    return [Lease(i, eval_id, retry_idx, losses, payload) for i, retry_idx, payload in rows]
