"""One function per transaction, each on a plain `sqlite3.Connection` in autocommit mode.

They are synchronous and know nothing of threads or event loops: `store.py` hands them to the
connection's thread, and tests call them as they are.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import pickle
import sqlite3
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nanoeval_core.errors import RolloutSystemError, StateError
from nanoeval_core.usage import Usage

from nanoeval_runner._queue import sql
from nanoeval_runner._queue.connection import connect, insert_rows
from nanoeval_runner._queue.connection import get_metadata as get_metadata
from nanoeval_runner._queue.connection import transaction as transaction
from nanoeval_runner._queue.exchange import LeaseSpan, count, requeue, unfinished_in
from nanoeval_runner._queue.exchange import exchange as exchange
from nanoeval_runner._queue.rows import (
    EvalRow,
    ExecutorRow,
    Heartbeat,
    NewEval,
    NewTask,
    ResultBatch,
    StoredSpec,
    StoredTask,
)
from nanoeval_runner._queue.states import (
    LEASE_SECONDS,
    MAX_LOSSES,
    START_SECONDS,
    ExecutorState,
    spans_of,
)

# --- the file


def create_schema(connection: sqlite3.Connection, run_set_id: str) -> None:
    with transaction(connection):
        for statement in sql.SCHEMA.split(";"):
            if statement.strip():
                connection.execute(statement)
        connection.execute(sql.SET_METADATA, ("schema_version", sql.SCHEMA_VERSION))
        connection.execute(sql.SET_METADATA, ("run_set_id", run_set_id))
        connection.execute(sql.SET_METADATA, ("created_at", time.time()))


def check_schema(connection: sqlite3.Connection, path: str) -> bool:
    """Return whether there is anything in the file: a run may have died before it wrote the schema.

    Raises:
        StateError: what is in it is of another version.
    """
    if not connection.execute(sql.COUNT_TABLES).fetchone()[0]:
        return False
    version = get_metadata(connection, "schema_version")
    if version != sql.SCHEMA_VERSION:
        raise other_version(path, version)
    return True


def other_version(path: str, version: object) -> StateError:
    return StateError(
        f"state file {path} has schema version {version!r}, this nanoeval writes version "
        f"{sql.SCHEMA_VERSION}: resume it with the nanoeval that wrote it; its finished "
        "results stay readable with `sqlite3`, in table `task`"
    )


def check_pages(path: Path) -> None:
    """Raise `StateError` if a page of the file is damaged. Reads all of it: some ms per MB."""
    try:
        with contextlib.closing(connect(path, read_only=True)) as connection:
            problem = connection.execute(sql.QUICK_CHECK).fetchone()[0]
    except sqlite3.DatabaseError as error:
        problem = error
    if problem != "ok":
        raise StateError(damaged(str(path), problem))


def damaged(path: str, problem: object) -> str:
    return (
        f"state file {path} is damaged or not a database ({problem}): move it away and resume "
        "again to go on from its backup; `sqlite3 FILE .recover` may save finished results"
    )


def recover(connection: sqlite3.Connection) -> None:
    """Make a file whose processes are gone ready for new ones: no leases, no retries to wait for.

    Its log of results is deleted: a run that goes on reads all of them.
    """
    with transaction(connection):
        for row in connection.execute(sql.ALL_LEASE_SPANS).fetchall():
            _requeue_all(connection, LeaseSpan(*row))
        connection.execute(sql.RESET_WAITING)
        connection.execute(sql.DELETE_RESULT_LOG)
        connection.execute(sql.END_ALL_EXECUTORS)


def _requeue_all(connection: sqlite3.Connection, span: LeaseSpan) -> int:
    """Queue again what a lease span holds without a result; return how much."""
    ids = unfinished_in(connection, span)
    requeue(connection, span, ids)
    count(connection, span.eval_id, -len(ids))
    return len(ids)


# --- evals


def add_eval(connection: sqlite3.Connection, new: NewEval, now: float) -> int:
    cursor = connection.execute(sql.INSERT_EVAL, {**dataclasses.asdict(new), "created_at": now})
    assert cursor.lastrowid is not None  # noqa: S101  an INSERT has one
    return cursor.lastrowid


def reopen_eval(connection: sqlite3.Connection, eval_id: int, new: NewEval) -> None:
    with transaction(connection):
        connection.execute(sql.REOPEN_EVAL, {**dataclasses.asdict(new), "id": eval_id})


def list_evals(connection: sqlite3.Connection) -> list[EvalRow]:
    return [_eval_row(row) for row in connection.execute(sql.LIST_EVALS)]


def get_eval(connection: sqlite3.Connection, eval_id: int) -> EvalRow:
    return _eval_row(connection.execute(sql.GET_EVAL, (eval_id,)).fetchone())


def _eval_row(row: Sequence[Any]) -> EvalRow:
    others = len(row) - len(dataclasses.fields(Usage))
    values = (*row[:others], Usage(*row[others:]))
    return EvalRow(*values)


def get_eval_spec(connection: sqlite3.Connection, eval_id: int) -> StoredSpec:
    return StoredSpec(*connection.execute(sql.GET_EVAL_SPEC, (eval_id,)).fetchone())


def fail_eval(connection: sqlite3.Connection, eval_id: int, error: bytes) -> None:
    connection.execute(sql.FAIL_EVAL, (error, eval_id))


def stop_eval(connection: sqlite3.Connection, eval_id: int) -> None:
    connection.execute(sql.STOP_EVAL, (eval_id,))


def start_eval(connection: sqlite3.Connection, eval_id: int) -> None:
    """Let executors claim the eval's tasks: all are in the file, and its driver is ready."""
    connection.execute(sql.START_EVAL, (eval_id,))


def stop_claims(connection: sqlite3.Connection, eval_id: int) -> None:
    """Start no more of its tasks; those in flight go on."""
    connection.execute(sql.STOP_CLAIMS, (eval_id,))


def finish_eval(
    connection: sqlite3.Connection, eval_id: int, state: str, summary: str | None, elapsed: float
) -> None:
    connection.execute(sql.FINISH_EVAL, (state, summary, elapsed, eval_id))


def set_elapsed(connection: sqlite3.Connection, elapsed: Sequence[tuple[float, int]]) -> None:
    """Store (seconds spent so far, eval id) pairs: what a run that is killed has spent."""
    with transaction(connection):
        connection.executemany(sql.SET_ELAPSED, elapsed)


def set_partial_summary(connection: sqlite3.Connection, eval_id: int, summary: str) -> None:
    """Store what is known so far; `finish_eval` replaces it."""
    connection.execute(sql.SET_PARTIAL_SUMMARY, (summary, eval_id))


def set_concurrency(connection: sqlite3.Connection, eval_id: int | None, limit: int | None) -> None:
    """Set one eval's limit, or the global one when `eval_id` is None."""
    if eval_id is None:
        connection.execute(sql.SET_METADATA, ("global_limit", limit))
    else:
        connection.execute(sql.SET_EVAL_CONCURRENCY, (limit, eval_id))


# --- tasks


def enqueue(connection: sqlite3.Connection, eval_id: int, tasks: Sequence[NewTask]) -> int:
    """Queue tasks in order, as `_payloads.dump_tasks` gives them; their ids are consecutive.

    Returns:
        the id of the first.
    """
    with transaction(connection):
        first: int = connection.execute(sql.LAST_TASK_ID).fetchone()[0] + 1
        by_class: dict[bytes, list[object]] = {}
        for index, (question_id, attempt_id, pickled_class, fields) in enumerate(tasks, first):
            row = index, question_id, attempt_id, fields
            by_class.setdefault(pickled_class, []).extend(row)
        for pickled_class, rows in by_class.items():
            connection.execute(sql.ADD_TASK_CLASS, (pickled_class,))
            (class_id,) = connection.execute(sql.FIND_TASK_CLASS, (pickled_class,)).fetchone()
            insert_rows(connection, sql.INSERT_TASKS, (eval_id, class_id), rows, 4)
        if tasks:
            connection.execute(sql.ADD_QUEUE_SPAN, (eval_id, first, first + len(tasks) - 1))
        connection.execute(sql.COUNT_TASKS, {"count": len(tasks), "id": eval_id})
    return first


def list_queued(connection: sqlite3.Connection, eval_id: int) -> tuple[list[StoredTask], int]:
    """Return the eval's queued tasks with payloads, and the id of the newest task in the file."""
    with transaction(connection):
        rows = connection.execute(sql.LIST_QUEUED, {"eval_id": eval_id}).fetchall()
        newest: int = connection.execute(sql.LAST_TASK_ID).fetchone()[0]
    return [StoredTask(*row) for row in rows], newest


def list_final(
    connection: sqlite3.Connection,
    eval_id: int,
    span: tuple[int, int],
    limit: int,
    *,
    payload: bool,
) -> list[StoredTask]:
    """Return up to `limit` final results of tasks with ids in (span[0], span[1]], by id."""
    rows = connection.execute(sql.LIST_FINAL, (payload, *span, eval_id, limit))
    return [StoredTask(*row) for row in rows]


def drop_tasks(connection: sqlite3.Connection, eval_id: int, task_ids: Sequence[int]) -> None:
    """Delete queued tasks that are no longer asked for. Others of `task_ids` stay."""
    dropped = set(task_ids)
    with transaction(connection):
        spans = connection.execute(sql.QUEUE_SPANS, (eval_id, -1)).fetchall()
        queued = [i for first, last in spans for i in range(first, last + 1)]
        connection.execute(sql.DELETE_QUEUE_SPANS, (eval_id,))
        for first, last in spans_of([i for i in queued if i not in dropped]):
            connection.execute(sql.ADD_QUEUE_SPAN, (eval_id, first, last))
        due = connection.execute(sql.DUE, (eval_id, math.inf, -1)).fetchall()
        gone = [(i,) for i in (*queued, *(task_id for task_id, _, _ in due)) if i in dropped]
        connection.executemany(sql.DELETE_REQUEUED, gone)
        connection.executemany(sql.DELETE_TASK, gone)
        connection.execute(sql.COUNT_TASKS, {"count": -len(gone), "id": eval_id})


# --- what the driver reads


def read_results(
    connection: sqlite3.Connection, after: int, limit: int
) -> tuple[list[EvalRow], list[ResultBatch]]:
    """Return the evals, and up to `limit` batches of results committed after number `after`."""
    evals = list_evals(connection)
    log = connection.execute(sql.READ_RESULT_LOG, (after, limit)).fetchall()
    return evals, [
        ResultBatch(seq, eval_id, connection.execute(sql.RESULTS_BY_ID, (task_ids,)).fetchall())
        for seq, eval_id, task_ids in log
    ]


def read_tasks(connection: sqlite3.Connection, task_ids: Sequence[int]) -> list[StoredTask]:
    rows = connection.execute(sql.TASKS_BY_ID, (json.dumps(task_ids),))
    return [StoredTask(*row) for row in rows]


# --- executors


def add_executor(
    connection: sqlite3.Connection, name: str, pool: str, pid: int, host: str, log: str = ""
) -> int:
    """Announce an executor. It may take its time to start: its first lease is a long one."""
    now, lease_until = time.time(), time.monotonic() + START_SECONDS
    row = name, pool, pid, host, log, lease_until, now, now
    cursor = connection.execute(sql.INSERT_EXECUTOR, row)
    assert cursor.lastrowid is not None  # noqa: S101  an INSERT has one
    return cursor.lastrowid


def set_executor_pid(connection: sqlite3.Connection, executor_id: int, pid: int) -> None:
    connection.execute(sql.SET_EXECUTOR_PID, (pid, executor_id))


def heartbeat(connection: sqlite3.Connection, sent: Heartbeat) -> bool:
    """Renew an executor's leases. False when it was declared dead meanwhile."""
    clocks = {"now": time.time(), "lease_until": time.monotonic() + LEASE_SECONDS}
    cursor = connection.execute(sql.HEARTBEAT, dataclasses.asdict(sent) | clocks)
    return cursor.rowcount == 1


def end_executor(connection: sqlite3.Connection, executor_id: int, *, died: bool) -> int:
    """End an executor and queue again what it has leased; return how many tasks that were.

    A task that was leased to more than `MAX_LOSSES` executors when they died gets a system error
    for its result, so that a task that crashes its executor cannot do so for ever.
    """
    requeued = 0
    with transaction(connection):
        for row in connection.execute(sql.LEASE_SPANS_OF, (executor_id,)).fetchall():
            span = LeaseSpan(*row)
            span = span._replace(losses=span.losses + died)
            if span.losses > MAX_LOSSES:
                requeued += _fail_all(connection, span)
            else:
                requeued += _requeue_all(connection, span)
        state = ExecutorState.DEAD if died else ExecutorState.STOPPED
        connection.execute(sql.END_EXECUTOR, (state.value, executor_id))
    return requeued


def _fail_all(connection: sqlite3.Connection, span: LeaseSpan) -> int:
    ids = unfinished_in(connection, span)
    error = RolloutSystemError(f"{span.losses} executors in a row died while they ran this task")
    value = pickle.dumps(error, pickle.HIGHEST_PROTOCOL)
    common = "failed", span.executor_id, span.leased_at, time.time()
    insert_rows(connection, sql.INSERT_RESULTS, common, [x for i in ids for x in (i, value)], 2)
    connection.execute(sql.DELETE_LEASE_SPAN, (span.first,))
    count(connection, span.eval_id, -len(ids), failed=len(ids))
    connection.execute(sql.LOG_RESULTS, (span.eval_id, json.dumps(ids)))
    return len(ids)


def silent_executors(connection: sqlite3.Connection) -> list[int]:
    """Return running executors whose leases have run out."""
    return [row[0] for row in connection.execute(sql.SILENT_EXECUTORS, (time.monotonic(),))]


def list_executors(connection: sqlite3.Connection) -> list[ExecutorRow]:
    return [ExecutorRow(*row) for row in connection.execute(sql.LIST_EXECUTORS)]
