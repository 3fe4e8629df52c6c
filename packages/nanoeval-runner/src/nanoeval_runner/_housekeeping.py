"""What a run set does now and then: notice limits, keep the time, back up, find the dead."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from pathlib import Path
from typing import Protocol

from nanoeval_runner._executors.loop import ExecutorLoop
from nanoeval_runner._executors.pool import Pool
from nanoeval_runner._outbox import Outbox
from nanoeval_runner._queue import backup, transactions
from nanoeval_runner._queue.connection import connect
from nanoeval_runner._queue.rows import ExecutorRow
from nanoeval_runner._queue.store import Store

log = logging.getLogger("nanoeval.runner")

HOUSEKEEPING_SECONDS = 0.5


class Housed(Protocol):
    """A run set, as far as its housekeeping needs it."""

    path: Path
    store: Store
    outbox: Outbox
    pools: dict[str, Pool]
    local: ExecutorLoop | None
    executors: list[ExecutorRow]
    backup: backup.Backup | None
    committed_elsewhere: asyncio.Event

    @property
    def has_segments(self) -> bool: ...

    def wake(self) -> None: ...


async def keep_house(run_set: Housed) -> None:
    """Notice limits that other processes changed, keep the time, write backups."""
    limits: object = None
    store = run_set.store
    while True:
        await asyncio.sleep(HOUSEKEEPING_SECONDS)
        rows = await store.call(transactions.list_evals)
        now = (
            [row.concurrency for row in rows],
            await store.call(transactions.get_metadata, "global_limit"),
        )
        if limits is not None and now != limits:
            run_set.wake()
        limits = now
        for row in rows:
            if row.id in run_set.outbox.runs:
                run_set.outbox.runs[row.id].limit = row.concurrency
        times = [(run.elapsed, run.eval_id) for run in run_set.outbox.runs.values()]
        await store.call(transactions.set_elapsed, times)
        if run_set.pools:
            run_set.executors = await store.call(transactions.list_executors)
            run_set.committed_elsewhere.set()
        if run_set.backup is not None and run_set.backup.is_due:
            await run_set.backup.write(segments=run_set.has_segments)


async def watch_executors(run_set: Housed, group: asyncio.TaskGroup) -> None:
    """Take out executors that went silent, the one that was first each time.

    It may have stopped while it held the write lock, and then holds up every writer, the driver
    among them: so this reads with a connection of its own, and kills before it writes.
    """

    async def end_silent(executor_id: int) -> None:
        log.warning("executor %s went silent: its tasks go to others", executor_id)
        await run_set.store.call(transactions.end_executor, executor_id, died=True)
        run_set.wake()

    with contextlib.closing(connect(run_set.path, read_only=True)) as connection:
        while True:
            await asyncio.sleep(HOUSEKEEPING_SECONDS)
            # Here and not on a thread: a reader of a WAL file waits for nobody, and a thread
            # could still be using the connection when this task is cancelled and closes it.
            silent = transactions.silent_executors(connection)
            local = run_set.local
            others = [i for i in silent if local is None or i != local.executor_id]
            if others:
                for pool in run_set.pools.values():
                    pool.fence(others[0])
                group.create_task(end_silent(others[0]), name="end silent executor")
