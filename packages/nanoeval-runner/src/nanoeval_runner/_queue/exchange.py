"""The exchange: what became of leases goes in, new leases come out, in one transaction.

The hot path of the queue: everything here is paid per batch, and what is paid per task is kept to
what sqlite itself does for a row.
"""

from __future__ import annotations

import dataclasses
import json
import sqlite3
import time
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby, repeat
from operator import attrgetter, itemgetter
from pathlib import Path
from typing import NamedTuple

from nanoeval_core.executors import IN_PROCESS
from nanoeval_core.usage import Usage

from nanoeval_runner._queue import sql
from nanoeval_runner._queue.connection import get_metadata, insert_rows, transaction
from nanoeval_runner._queue.event_log import log_events
from nanoeval_runner._queue.rows import (
    FINAL,
    RESULT_STATES,
    Completion,
    ExchangeReply,
    ExchangeRequest,
    Lease,
)
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


_task_id, _outcome, _usage, _events, _losses = map(
    attrgetter, ("task_id", "outcome", "usage", "events", "losses")
)


class _LeasesLostError(Exception):
    """Some completions do not hold their lease."""


def exchange(
    connection: sqlite3.Connection,
    request: ExchangeRequest,
    before_commit: BeforeCommit | None = None,
    event_folder: Path | None = None,
    *,
    now: Clock = time.time,
    monotonic: Clock = time.monotonic,
) -> ExchangeReply:
    """Write what became of leases and hand out new ones, in one transaction.

    Completions whose lease was lost (their executor had been declared dead) leave no trace. Large
    events go to files in `event_folder`, if there is one.
    """
    completions = request.completions
    rejected: frozenset[int] = frozenset()
    while True:
        try:
            with transaction(connection):
                clocks = now(), monotonic()
                row = connection.execute(sql.GET_EXECUTOR, (request.executor_id,))
                state, lease_until = row.fetchone()
                if state != ExecutorState.RUNNING:
                    lost = frozenset(map(_task_id, request.completions))
                    return ExchangeReply([], {}, rejected=lost, fenced=True)
                if lease_until > clocks[1] + LEASE_SECONDS:  # the long one that it started with
                    renewed = clocks[1] + LEASE_SECONDS, request.executor_id
                    connection.execute(sql.RENEW_LEASES, renewed)
                if completions:
                    _complete(connection, request, completions, clocks)
                reply = _claim(connection, request, rejected, clocks)
                if any(map(_events, completions)):
                    _record(connection, completions, before_commit, event_folder)
                return reply
        except _LeasesLostError:
            kept = _still_leased(connection, request.executor_id, completions)
            rejected |= {c.task_id for c in completions if c.task_id not in kept}
            assert len(kept) < len(completions), "not written, yet leased"  # noqa: S101
            completions = [c for c in completions if c.task_id in kept]


# --- what became of leases


def _complete(
    connection: sqlite3.Connection,
    request: ExchangeRequest,
    completions: Sequence[Completion],
    clocks: tuple[float, float],
) -> None:
    """Store results, take what is completed out of its lease spans, and count it.

    Raises:
        _LeasesLostError: some are held by no span of the executor, or have a result already.
    """
    now, monotonic = clocks
    by_eval: dict[int, list[Completion]] = {}
    held: list[tuple[LeaseSpan, list[int], int]] = []
    # By state and when they were leased: (task id, value) × n
    results: dict[tuple[str, float], list[object]] = {}
    ordered = sorted(completions, key=_task_id)
    position = 0
    while position < len(ordered):
        span = find_lease_span(connection, ordered[position].task_id)
        if span is None or span.executor_id != request.executor_id:
            raise _LeasesLostError
        _, last, _, _, eval_id, _, leased_at = span
        returned: list[int] = []
        group = ordered[position : bisect_right(ordered, last, position, key=_task_id)]
        done = results.setdefault(("done", leased_at), [])
        for c in group:
            if c.outcome == "done":
                done += (c.task_id, c.value)
            elif c.outcome in RESULT_STATES:
                results.setdefault((c.outcome, leased_at), []).extend((c.task_id, c.value))
            else:
                returned.append(c.task_id)
        by_eval.setdefault(eval_id, []).extend(group)
        position += len(group)
        held.append((span, returned, len(group)))
    try:
        for (state, leased_at), rows in results.items():
            common = state, request.executor_id, leased_at, now
            insert_rows(connection, sql.INSERT_RESULTS, common, rows, 2)
    except sqlite3.IntegrityError as error:  # one of them has a result already
        raise _LeasesLostError from error
    for span, returned, ended in held:
        if returned:
            requeue(connection, span, returned)
        elif span.unfinished > ended:
            connection.execute(sql.SET_UNFINISHED, (span.unfinished - ended, span.first))
        else:
            connection.execute(sql.DELETE_LEASE_SPAN, (span.first,))
    for eval_id, completed in by_eval.items():
        _add_up(connection, eval_id, completed, monotonic)
        if request.pool != IN_PROCESS:
            final = [c.task_id for c in completed if c.outcome in FINAL]
            if final:
                connection.execute(sql.LOG_RESULTS, (eval_id, json.dumps(final)))


def _add_up(
    connection: sqlite3.Connection, eval_id: int, ended: Sequence[Completion], monotonic: float
) -> None:
    """Add up what became of an eval's leases; queue retries, and fail the eval if it must."""
    number = Counter(map(_outcome, ended))
    if number["retried"] or number["fatal"]:
        for c in ended:
            if c.outcome == "retried":
                retry = connection.execute(sql.INSERT_RETRY, (c.task_id,)).lastrowid
                connection.execute(sql.REQUEUE, (retry, eval_id, monotonic + c.retry_delay, 0))
            elif c.outcome == "fatal":
                connection.execute(sql.FAIL_EVAL, (c.value, eval_id))
    count(
        connection,
        eval_id,
        -len(ended),
        done=number["done"],
        failed=number["failed"],
        retries=number["retried"],
    )
    if any(map(_usage, ended)):
        total = Usage()
        for c in ended:
            if c.usage is not None:
                total += c.usage
        connection.execute(sql.COUNT_USAGE, {**dataclasses.asdict(total), "id": eval_id})


def count(
    connection: sqlite3.Connection,
    eval_id: int,
    leased: int,
    *,
    done: int = 0,
    failed: int = 0,
    retries: int = 0,
) -> None:
    """Add to the numbers of an eval's tasks in these states; those in none of them are queued."""
    more = {"leased": leased, "done": done, "failed": failed, "retries": retries, "id": eval_id}
    connection.execute(sql.COUNT, more)


def find_lease_span(connection: sqlite3.Connection, task_id: int) -> LeaseSpan | None:
    """Return the span that holds a task; it may have a result by now."""
    row = connection.execute(sql.FIND_LEASE_SPAN, (task_id,)).fetchone()
    return LeaseSpan(*row) if row is not None and task_id <= row[1] else None


def unfinished_in(connection: sqlite3.Connection, span: LeaseSpan) -> list[int]:
    """Return the ids in a span that have no result."""
    found = connection.execute(sql.FINISHED_IN_SPAN, (span.first, span.last))
    finished = {task_id for (task_id,) in found}
    return [i for i in range(span.first, span.last + 1) if i not in finished]


def requeue(connection: sqlite3.Connection, span: LeaseSpan, task_ids: Sequence[int]) -> None:
    """Queue these tasks of a span again; what else of it has no result stays leased.

    Raises:
        _LeasesLostError: one of them has a result.
    """
    rest = set(unfinished_in(connection, span))
    if not rest.issuperset(task_ids):
        raise _LeasesLostError
    connection.execute(sql.DELETE_LEASE_SPAN, (span.first,))
    for first, last in spans_of(sorted(rest.difference(task_ids))):
        part = span._replace(first=first, last=last, unfinished=last - first + 1)
        connection.execute(sql.ADD_LEASE_SPAN, part)
    again = [(i, span.eval_id, 0.0, span.losses) for i in task_ids]
    connection.executemany(sql.REQUEUE, again)


def _still_leased(
    connection: sqlite3.Connection, executor_id: int, completions: Sequence[Completion]
) -> set[int]:
    """Return the ids of those completions whose lease the executor holds."""
    kept = set()
    for c in completions:
        span = find_lease_span(connection, c.task_id)
        if span is not None and span.executor_id == executor_id:
            kept.update({c.task_id} & set(unfinished_in(connection, span)))
    return kept


def _record(
    connection: sqlite3.Connection,
    completions: Sequence[Completion],
    before_commit: BeforeCommit | None,
    event_folder: Path | None,
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
        log_events(connection, eval_id, events, event_folder)


# --- new leases


def _claim(
    connection: sqlite3.Connection,
    request: ExchangeRequest,
    rejected: frozenset[int],
    clocks: tuple[float, float],
) -> ExchangeReply:
    (executors,) = connection.execute(sql.COUNT_EXECUTORS, (request.pool,)).fetchone()
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
                part = -(-queued // executors)
                demands.append(Demand(eval_id, min(queued, part), leased, limit))
    leases: list[Lease] = []
    waits: list[float] = []
    if request.want > 0 and demands:
        global_limit = get_metadata(connection, "global_limit")
        room = None
        if isinstance(global_limit, int):
            room = global_limit - connection.execute(sql.TOTAL_LEASED).fetchone()[0]
        for eval_id, count in share(request.want, demands, global_room=room).items():
            claimed = _claim_of(connection, request, eval_id, count, leases, clocks)
            leases += claimed
            if len(claimed) < count:
                (due,) = connection.execute(sql.NEXT_DUE, (eval_id, clocks[1])).fetchone()
                if due is not None:
                    waits.append(due - clocks[1])
        leases.sort(key=_task_id)
    return ExchangeReply(leases, running, executors, rejected, min(waits, default=None))


def _claim_of(
    connection: sqlite3.Connection,
    request: ExchangeRequest,
    eval_id: int,
    most: int,
    others: Sequence[Lease],
    clocks: tuple[float, float],
) -> list[Lease]:
    """Lease up to `most` tasks of one eval that may start now: the requeued, the new, retries.

    Args:
        others: what the request was given of other evals.
    """
    due = connection.execute(sql.DUE, (eval_id, clocks[1], most)).fetchall()
    fresh, new = [], 0  # the spans that hold the next tasks that were never leased
    for first, last in connection.execute(sql.QUEUE_SPANS, (eval_id, most)):
        fresh.append((first, last))
        new += last - first + 1
        if new >= most:
            break
    new = min(new, most)
    losses = max(request.losses, *map(_losses, others), 0)
    chosen: list[tuple[int, int]] = []
    if due or losses:
        # New tasks are candidates like others; those that may join are the first of them.
        candidates = [(task_id, lost) for task_id, not_before, lost in due if not not_before]
        candidates += [(0, 0)] * new
        candidates += [(task_id, lost) for task_id, not_before, lost in due if not_before]
        in_flight = request.in_flight + len(others)
        joining = may_join(candidates[:most], in_flight=in_flight, losses=losses)
        new = joining.count((0, 0))
        chosen = [one for one in joining if one[0]]
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
    for lost, alike in groupby(sorted(chosen, key=itemgetter(1, 0)), itemgetter(1)):
        ids = [task_id for task_id, _ in alike]
        connection.executemany(sql.DELETE_REQUEUED, [(i,) for i in ids])
        for span in spans_of(ids):
            leases += _lease(connection, request, eval_id, span, lost, clocks[0], is_new=False)
    if leases:
        count(connection, eval_id, len(leases))
    return leases


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
    if is_new and request.pool == IN_PROCESS:
        return list(map(Lease, range(first, last + 1), repeat(eval_id), repeat(0)))
    rows = connection.execute(sql.DATA_OF_SPAN, ids)
    return [Lease(i, eval_id, retry_idx, losses, payload) for i, retry_idx, payload in rows]
