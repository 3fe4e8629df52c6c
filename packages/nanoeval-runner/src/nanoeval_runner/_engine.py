"""The engine: one state file and its executors, shared by the runs of one event loop.

`run` joins an engine and leaves it; the first to join opens the file, the last to leave closes
everything. Its background work (executors, reading results, housekeeping) lives in one task
group, so that nothing outlives it and no failure is lost.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import fcntl
import logging
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO

import anyio
import anyio.to_thread
from nanoeval_core.errors import StateError

from nanoeval_runner._eval_run import EvalRun, Phase
from nanoeval_runner._executors import in_process
from nanoeval_runner._executors.engines import Pool, make_pool
from nanoeval_runner._executors.in_process import InProcessExecutor
from nanoeval_runner._executors.protocol import EvalHandle
from nanoeval_runner._executors.watchdog import BEAT_SECONDS
from nanoeval_runner._garbage import collected_rarely
from nanoeval_runner._inspection import describe, start_aiomonitor
from nanoeval_runner._monitors import MonitorBeside
from nanoeval_runner._queue import backup, transactions
from nanoeval_runner._queue.connection import connect
from nanoeval_runner._queue.event_segments import remove_recorded
from nanoeval_runner._queue.paths import check_owner, create_private, shared_dir, state_file
from nanoeval_runner._queue.rows import Completion
from nanoeval_runner._queue.store import Store
from nanoeval_runner._queue.transactions import silent_executors
from nanoeval_runner._recording import RecordingSource
from nanoeval_runner._signals import SignalGuard, say
from nanoeval_runner._task_group import task_group
from nanoeval_runner.resume_command import resume_command
from nanoeval_runner.run_log import RunLog

log = logging.getLogger("nanoeval.runner")

HOUSEKEEPING_SECONDS = 0.5
READ_BATCHES = 64
INTERRUPT_SETTLE_SECONDS = 10.0
INSPECTED = 10


class Engine:
    """A run set being run. Made by `join`; not to be constructed elsewhere.

    Attributes:
        store: the state file, opened.
        resumed: whether the file existed before.
        runs: the evals being run now, by id.
        taken: the ids of evals that a call of `run` is working on.
        created: the ids of evals that were new to this engine.
    """

    def __init__(self, run_set_id: str) -> None:
        self.run_set_id = run_set_id
        self.path: Path = state_file(run_set_id)
        self.store = Store(self.path)
        self.source = RecordingSource(self.store)
        self.resumed = False
        self.runs: dict[int, EvalRun] = {}
        self.taken: set[int] = set()
        self.created: set[int] = set()
        self.changed = asyncio.Event()
        self.interrupted: int | None = None
        self.killed = False
        self.members = 0
        self.failure: BaseException | None = None
        self._opened = False
        self._check_pages = False
        self.registering = asyncio.Lock()
        self._opening = asyncio.Lock()
        self._lock_file: IO[bytes] | None = None
        self._group: asyncio.TaskGroup | None = None
        self._serving: asyncio.Task[None] | None = None
        self._closing = asyncio.Event()
        self._ready = asyncio.Event()
        self._local: InProcessExecutor | None = None
        self._pools: dict[str, Pool] = {}
        self._results_seq = 0
        self._results_wanted = asyncio.Event()
        self._signals = SignalGuard(self)
        self._log = RunLog(run_set_id)
        self._settling = 0
        self._settled = asyncio.Event()
        self._backup: backup.Backup | None = None
        self.monitor = MonitorBeside(self.path)

    # --- life

    async def open(self) -> None:
        """Open the state file, once, and start the housekeeping.

        Raises:
            StateError: another process runs this run set, or the file cannot be used.
        """
        async with self._opening:
            if self._opened:
                return
            self._lock()
            try:
                await self._open_store()
            except BaseException:
                self._unlock()
                raise
            self._signals.install()
            self._log.open()
            self._serving = asyncio.create_task(self._serve(), name="nanoeval engine")
            self._serving.add_done_callback(self._serving_ended)
            await self._ready.wait()
            self._opened = True

    async def _open_store(self) -> None:
        if not self.path.exists():
            await anyio.to_thread.run_sync(backup.restore, self.run_set_id, self.path)
        exists = self.path.exists() and self.path.stat().st_size > 0
        if exists:
            check_owner(self.path)
        create_private(self.path)
        await self.store.__aenter__()
        try:
            if exists and await self.store.call(transactions.check_schema, str(self.path)):
                self.resumed = True
                await self.store.call(transactions.recover)
                self._check_pages = True
                self._results_seq = await self.store.call(transactions.last_result_seq)
            else:
                await self.store.call(transactions.create_schema, self.run_set_id)
        except BaseException:
            await self.store.__aexit__(None, None, None)
            raise

    def _lock(self) -> None:
        lock = self.path.with_suffix(".lock")
        create_private(lock)
        self._lock_file = lock.open("r+b")
        try:
            fcntl.flock(self._lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            owner = self._lock_file.read().decode() or "unknown"
            self._lock_file.close()
            raise StateError(
                f"run set {self.run_set_id!r} is being run by process {owner}: wait for it or stop "
                "it, or choose another run_set_id"
            ) from error
        self._lock_file.truncate()
        self._lock_file.write(str(os.getpid()).encode())
        self._lock_file.flush()

    def _unlock(self) -> None:
        if self._lock_file is not None:
            self._lock_file.close()
            self._lock_file = None

    async def _serve(self) -> None:
        try:
            with collected_rarely():
                async with task_group() as group:
                    self._group = group
                    housekeeping = group.create_task(self._keep_house(), name="housekeeping")
                    reading = group.create_task(self._read_results(), name="read results")
                    watching = group.create_task(self._watch_executors(group), name="watchers")
                    if self._check_pages:
                        # Reads the whole file: beside the run, not before it.
                        group.create_task(self.store.check_pages(), name="check pages")
                    self._ready.set()
                    await self._closing.wait()
                    if self._local is not None and self._local.loop is not None:
                        self._local.loop.stop(release=True)
                    for pool in self._pools.values():
                        await pool.stop()
                    housekeeping.cancel()
                    reading.cancel()
                    watching.cancel()
        finally:
            self.kill_executors()
            self._group = None

    def _serving_ended(self, serving: asyncio.Task[None]) -> None:
        self._ready.set()
        failure = None if serving.cancelled() else serving.exception()
        if failure is not None:
            self.failure = failure
            self.fail(failure)

    async def close(self) -> None:
        """Stop the executors, write the last backup, close the file."""
        self._signals.restore()
        await self.monitor.close()
        if self._opened and self._serving is not None:
            self._closing.set()
            await asyncio.wait([self._serving])
            if self._backup is not None:
                await self._backup.write_last()
            if self.failure is None:
                await self.store.call(remove_recorded, shared_dir(self.path), all_ended=True)
            await self.store.__aexit__(None, None, None)
            await self._log.finish()
        self._unlock()

    # --- evals

    async def add(self, run: EvalRun) -> None:
        """Run the tasks of an eval that is in the state file."""
        if self.failure is not None:
            raise self.failure
        self.runs[run.eval_id] = run
        if run.spec.runner.should_backup and self._backup is None:
            self._backup = backup.Backup(self.path, run.spec.runner.backup_interval)
        if run.kind == in_process.KIND:
            if self._local is None:
                self._local = InProcessExecutor(self.store, self.source, self, self)
                await self._local.start()
                assert self._group is not None  # noqa: S101  open() came first
                self._group.create_task(self._local.serve(), name="executor main")
        else:
            await self._start_pool(run)
        await self.store.call(transactions.start_eval, run.eval_id)
        self.wake()

    async def _start_pool(self, run: EvalRun) -> None:
        assert self._group is not None  # noqa: S101  open() came first
        pool = self._pools.get(run.kind)
        if pool is None:
            pool = self._pools[run.kind] = make_pool(
                run.spec.runner, self.store, self._group, self._pool_changed, self.fail
            )
        await pool.grow(run.spec.runner.num_processes)

    def fail(self, error: BaseException) -> None:
        """The executors cannot go on, for any eval."""
        for run in self.runs.values():
            run.fail(error)

    async def remove(self, run: EvalRun) -> None:
        """The eval is over: leave its context, raising what that raises."""
        if self._local is not None and self._local.loop is not None:
            await self._local.loop.close_eval(run.eval_id)
        self.wake()

    def wake(self) -> None:
        """Let every executor look at the state file now."""
        if self._local is not None and self._local.loop is not None:
            self._local.loop.wake()
        for pool in self._pools.values():
            pool.wake()

    # --- EvalLoader and ExecutorEvents, for the executor in this process

    async def load(self, eval_id: int) -> EvalHandle:
        return self.runs[eval_id]

    def wants(self, eval_id: int) -> bool:
        run = self.runs.get(eval_id)
        return run is not None and not run.over.is_set()

    def context(self, eval_id: int) -> contextvars.Context | None:
        run = self.runs.get(eval_id)
        return None if run is None else run.context.copy()

    def committed(self, completions: Sequence[Completion]) -> None:
        by_run: dict[int, list[Completion]] = {}
        for completion in completions:
            by_run.setdefault(completion.eval_id, []).append(completion)
        for eval_id, group in by_run.items():
            run = self.runs.get(eval_id)
            if run is not None:
                run.committed(group)
        self._notify()

    def idle(self) -> None:
        """Nothing to do: this engine wakes its executors whenever something changes."""

    def eval_failed(self, eval_id: int, error: BaseException) -> None:
        run = self.runs.get(eval_id)
        if run is not None:
            run.fail(error)

    def _notify(self) -> None:
        changed, self.changed = self.changed, asyncio.Event()
        changed.set()

    # --- results of executors elsewhere

    def _pool_changed(self) -> None:
        self._results_wanted.set()

    async def _read_results(self) -> None:
        while True:
            await self._results_wanted.wait()
            self._results_wanted.clear()
            while await self._read_some():
                pass
            await self._collect_failures()
            self._notify()

    async def _read_some(self) -> bool:
        batches = await self.store.call(transactions.read_results, self._results_seq, READ_BATCHES)
        for batch in batches:
            self._results_seq = batch.seq
            run = self.runs.get(batch.eval_id)
            if run is not None:
                run.read(batch)
        return len(batches) == READ_BATCHES

    async def _collect_failures(self) -> None:
        from nanoeval_runner._failures import load_failure  # noqa: PLC0415

        for row in await self.store.call(transactions.list_evals):
            run = self.runs.get(row.id)
            if run is None:
                continue
            run.retries = row.retries
            if row.state == "failed" and not run.errors:
                error = await self.store.call(transactions.get_eval_error, row.id)
                if error is not None:
                    run.fail(load_failure(error))

    # --- housekeeping

    async def _keep_house(self) -> None:
        """Notice changed limits, keep the time, write backups."""
        limits: object = None
        while True:
            await asyncio.sleep(HOUSEKEEPING_SECONDS)
            rows = await self.store.call(transactions.list_evals)
            now = (
                [r.concurrency for r in rows],
                await self.store.call(transactions.get_metadata, "global_limit"),
            )
            if limits is not None and now != limits:
                self.wake()
            limits = now
            await self.store.call(
                transactions.set_elapsed, [(run.elapsed, run.eval_id) for run in self.runs.values()]
            )
            if self._pools:
                self._results_wanted.set()
            if self._backup is not None:
                await self._backup.write_if_due()

    async def _watch_executors(self, group: asyncio.TaskGroup) -> None:
        """Take out executors that went silent, the one that was first each time.

        It may have stopped while it held the write lock, and then holds up every writer, the
        driver among them: so this reads with a connection of its own, and kills before it writes.
        """
        with contextlib.closing(connect(self.path, read_only=True)) as connection:
            while True:
                await asyncio.sleep(HOUSEKEEPING_SECONDS)
                if not self._pools:
                    continue
                # Here and not on a thread: a reader of a WAL file waits for nobody, and a thread
                # could still be using the connection when this task is cancelled and closes it.
                silent = silent_executors(connection)
                local = self._local.loop if self._local is not None else None
                others = [i for i in silent if local is None or i != local.executor_id]
                if others:
                    for pool in self._pools.values():
                        pool.fence(others[0])
                    group.create_task(self._end_silent(others[0]), name="end silent executor")

    async def _end_silent(self, executor_id: int) -> None:
        log.warning("executor %s went silent: its tasks go to others", executor_id)
        await self.store.call(transactions.end_executor, executor_id, died=True)
        self.wake()

    # --- interruption

    @property
    def can_drain(self) -> bool:
        """Whether tasks are in flight that a first Ctrl-C should let finish."""
        return any(run.phase is Phase.RUNNING for run in self.runs.values())

    def interrupt(self, exit_code: int) -> None:
        """Let tasks in flight finish, start no others, and end every run as interrupted."""
        if self.interrupted is None:
            self.interrupted = exit_code
            for run in self.runs.values():
                run.interrupted = True
                run.over.set()

    def kill_executors(self) -> None:
        """Kill executors in processes of their own, now; safe in a signal handler."""
        for pool in self._pools.values():
            pool.kill()

    def stop_at_once(self) -> None:
        """Wait for nothing from here on; safe in a signal handler."""
        self.killed = True
        self.kill_executors()

    def inspect(self) -> None:
        """Print where everything is: executors, commands to look at them, slowest attempts."""
        if self._group is not None:
            self._group.create_task(self._inspect(), name="inspect")

    async def _inspect(self) -> None:
        slowest = []
        if self._local is not None and self._local.loop is not None:
            slowest = self._local.loop.slowest(INSPECTED)
        for pool in self._pools.values():
            pool.inspect()
        if self._local is not None and self._local.loop is not None:
            await start_aiomonitor(self._local.loop.run_context)
        await asyncio.sleep(2 * BEAT_SECONDS)  # executors publish with their next heartbeat
        say(describe(await self.store.call(transactions.list_executors), slowest))

    def resume_hint(self) -> str:
        """The command that goes on with this run set."""
        return f"To resume: {resume_command(self.run_set_id)}"

    def interruption_message(self) -> str:
        """What to tell when a signal ends everything at once."""
        if all(run.phase is Phase.LOADING for run in self.runs.values()) and not self.resumed:
            return "interrupted before any task ran"
        return f"interrupted. {self.resume_hint()}"

    async def drain(self, run: EvalRun, grace: float) -> None:
        """Give the eval's tasks in flight `grace` seconds, then give them back to the queue."""
        await self.store.call(transactions.drain_eval, run.eval_id)
        deadline = time.monotonic() + grace
        await self._until_idle(run, deadline)
        await self.release(run)

    async def release(self, run: EvalRun) -> None:
        """Give what the eval has in flight back to the queue, now."""
        if self.killed:
            return
        await self.store.call(transactions.stop_eval, run.eval_id)
        self.wake()
        await self._until_idle(run, time.monotonic() + INTERRUPT_SETTLE_SECONDS)

    async def _until_idle(self, run: EvalRun, deadline: float) -> None:
        while True:
            changed = self.changed
            row = await self.store.call(transactions.get_eval, run.eval_id)
            left = deadline - time.monotonic()
            if not row.leased or left <= 0 or self.failure is not None:
                return
            with anyio.move_on_after(min(left, 1.0)):
                await changed.wait()

    async def settle(self) -> None:
        """Wait until every interrupted run has got this far, so that none ends the others."""
        self._settling += 1
        self._check_settled()
        await self._settled.wait()

    def forget(self, run: EvalRun) -> None:
        """Nothing more will be asked for this run."""
        self.runs.pop(run.eval_id, None)
        self._check_settled()

    def _check_settled(self) -> None:
        if self._settling and self._settling >= len(self.runs):
            self._settled.set()
