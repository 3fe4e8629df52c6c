"""A run set being run: one state file and its executors, shared by the runs of one event loop.

`run` joins a run set and leaves it; the first to join opens the file, the last to leave closes
everything. Its background work (executors, housekeeping) is in one task group, so that nothing
outlives it and no failure is lost.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import threading
import time
import weakref
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

from nanoeval_core.errors import ConfigError
from nanoeval_core.executors import IN_PROCESS, MULTIPROCESS, ExecutorConfig, find_executor
from nanoeval_core.recorder_protocol import uuid
from nanoeval_core.run_context import RunContext
from nanoeval_core.spec import RunnerArgs

from nanoeval_runner._display.board import Board
from nanoeval_runner._eval_run import EvalRun
from nanoeval_runner._executors.loop import ExecutorLoop, Hurry, unregister
from nanoeval_runner._executors.pool import STOP_SECONDS, Pool
from nanoeval_runner._executors.threads import name_threads_that_hold_the_process
from nanoeval_runner._executors.watchdog import HEARTBEAT_SECONDS, run_watched
from nanoeval_runner._inspection import describe, start_aiomonitor
from nanoeval_runner._interrupts import Signals, say
from nanoeval_runner._monitors import RunningMonitor, StartMonitor
from nanoeval_runner._outbox import DriverSource, Outbox
from nanoeval_runner._queue import backup, transactions
from nanoeval_runner._queue.connection import connect
from nanoeval_runner._queue.event_log import remove_recorded
from nanoeval_runner._queue.paths import remove_files_of, shared_dir, state_file
from nanoeval_runner._queue.rows import ExecutorRow
from nanoeval_runner._queue.store import Store
from nanoeval_runner.results import resume_command
from nanoeval_runner.run_log import RunLog

log = logging.getLogger("nanoeval.runner")

REQUEUE_SECONDS = 6.0
"""How long executors may take to requeue tasks: a little longer than they give an attempt."""

HURRIED_SECONDS = 3.0
"""How long executors may take to stop after a signal, at least."""

HOUSEKEEPING_SECONDS = 0.5
INSPECTED = 10


class Executors:
    """The executors of a run set: one in this process, pools of those elsewhere.

    Attributes:
        local: the one in this process, once there is one.
        pools: those elsewhere, by the pool's name.
        reports: what those elsewhere said of themselves last.
        group: what they run in; None once it has ended.
        committed: set when those elsewhere may have committed something.
        hurry: how long contexts may take that are being left.
        is_killed: nothing is waited for from here on.
    """

    def __init__(
        self, store: Store, outbox: Outbox, on_failure: Callable[[BaseException], None]
    ) -> None:
        self.local: ExecutorLoop | None = None
        self.pools: dict[str, Pool[Any]] = {}
        self.reports: list[ExecutorRow] = []
        self.group: asyncio.TaskGroup | None = None
        self.committed = asyncio.Event()
        self.hurry = Hurry()
        self.is_killed = False
        self._store = store
        self._outbox = outbox
        self._on_failure = on_failure
        self._starting = asyncio.Lock()
        self._helpers: list[asyncio.Task[None]] = []

    async def start(self, run: EvalRun) -> None:
        """Have those that an eval asks for."""
        runner, group = run.spec.runner, self.group
        assert group is not None, "the run set is open"  # noqa: S101
        if run.pool == IN_PROCESS:
            async with self._starting:
                if self.local is None:
                    path, host = self._store.path, (os.getpid(), socket.gethostname())
                    self.local = ExecutorLoop(
                        executor_id=await self._store.call(
                            transactions.add_executor, "main", IN_PROCESS, *host
                        ),
                        pool=IN_PROCESS,
                        source=DriverSource(self._store, self._outbox),
                        run_context=RunContext(
                            run_set_id=path.stem, shared_dir=shared_dir(path), executor="main"
                        ),
                        hurry=self.hurry,
                    )
                    group.create_task(run_watched(self.local, self._store), name="executor main")
        else:
            if not self.pools:
                for helper in (self._collect(), self._watch()):
                    self._helpers.append(group.create_task(helper))
            if run.pool not in self.pools:
                self.pools[run.pool] = self._new_pool(runner, group)
            await self.pools[run.pool].grow(runner.num_processes)

    def _new_pool(self, runner: RunnerArgs, group: asyncio.TaskGroup) -> Pool[Any]:
        shared = (self._store, group, self.committed.set, self._on_failure, self.hurry)
        if runner.executor_name == MULTIPROCESS:
            # Deferred: multiprocess is needed by the process pool only.
            from nanoeval_runner._executors.process_pool import ProcessPool  # noqa: PLC0415

            return ProcessPool(*shared)
        # Deferred: runs without an engine do not need it.
        from nanoeval_runner._executors.remote_pool import RemotePool  # noqa: PLC0415

        return RemotePool(*shared, engine_config(runner))

    async def _collect(self) -> None:
        while True:
            await self.committed.wait()
            self.committed.clear()
            await self._outbox.collect()

    async def _watch(self) -> None:
        """Take out executors that went silent, the one that was first each time.

        It may have stopped while it held the write lock, and then holds up every writer, the
        driver among them: so this reads with a connection of its own, and kills before it writes.
        """

        async def end_silent(executor_id: int) -> None:
            log.warning("executor %s went silent: its tasks go to others", executor_id)
            await self._store.call(transactions.end_executor, executor_id, died=True)
            self.wake()

        with contextlib.closing(connect(self._store.path, read_only=True)) as connection:
            while self.group is not None:
                await asyncio.sleep(HOUSEKEEPING_SECONDS)
                # Here and not on a thread: a reader of a WAL file waits for nobody, and a thread
                # could still be using the connection when this task is cancelled and closes it.
                silent = transactions.silent_executors(connection)
                local = self.local
                others = [i for i in silent if local is None or i != local.executor_id]
                if others:
                    for pool in self.pools.values():
                        pool.kill_executor(others[0])
                    self.group.create_task(end_silent(others[0]), name="end silent executor")

    def wake(self) -> None:
        """Have every executor look at the state file now."""
        if self.local is not None:
            self.local.wake()
        for pool in self.pools.values():
            pool.wake()

    async def leave(self, run: EvalRun) -> None:
        """Wait until every executor has left the eval's context; what that raises fails the run."""
        if run.pool == IN_PROCESS:
            if self.local is not None:
                await self.local.leave(run.eval_id)
        elif run.pool in self.pools and not self.is_killed and self.group is not None:
            await self.pools[run.pool].leave(run.eval_id)
            await self._outbox.collect()
        self.wake()

    async def stop(self) -> None:
        if self.local is not None:
            self.local.stop()
        within = STOP_SECONDS
        if self.hurry.seconds is not None:
            within = min(within, max(self.hurry.seconds, HURRIED_SECONDS))
        for pool in self.pools.values():
            await pool.stop(0.0 if self.is_killed else within)
        for helper in self._helpers:
            helper.cancel()

    async def inspect(self) -> None:
        """Say where everything is: executors, commands to look at them, slowest attempts."""
        for pool in self.pools.values():
            pool.inspect()
        slowest = self.local.slowest(INSPECTED) if self.local is not None else []
        if self.local is not None:
            await start_aiomonitor(self.local.run_context)
        await asyncio.sleep(2 * HEARTBEAT_SECONDS)  # executors publish with their next heartbeat
        say(describe(await self._store.call(transactions.list_executors), slowest))


def engine_config(runner: RunnerArgs) -> ExecutorConfig:
    """Return the config of the engine that `runner` names.

    Raises:
        ConfigError: it is not installed.
    """
    if isinstance(runner.executor, ExecutorConfig):
        return runner.executor
    config = find_executor(runner.executor_name)()
    if not isinstance(config, ExecutorConfig):
        raise ConfigError(
            f"RunnerArgs.executor={runner.executor!r}: its entry point gives a "
            f"{type(config).__name__}, not an ExecutorConfig; ask the package that registers it"
        )
    return config


class RunSet:
    """One state file and its executors. `joined` makes one.

    Attributes:
        store: the state file, opened.
        outbox: where committed batches go.
        resumed: whether the file existed before.
        drivers: the tasks that drive an eval, each with its run once it has one; signals reach
            them.
        claimed_evals: the ids of evals that a call of `run` is working on.
        created: the ids of evals that were new to this run set.
        registering: held while a run looks for an eval to go on with.
        grace: seconds that tasks in flight may go on after a signal.
        failure: what makes it impossible to go on, if anything did.
        key: its id as runs name it; None for those that name none, which share it.
        closed: set once the state file is closed; None while it can be joined.
    """

    def __init__(self, run_set_id: str | None, signals: Signals) -> None:
        self.key = run_set_id
        self.run_set_id = run_set_id or uuid()
        command = resume_command(self.run_set_id)
        self.resume_hint = f"To resume: {command}" if command else ""
        self.path = state_file(self.run_set_id)
        self.store = Store(self.path)
        self.outbox = Outbox(self.store)
        self.executors = Executors(self.store, self.outbox, self.fail)
        self.resumed = False
        self.drivers: dict[asyncio.Task[Any] | None, EvalRun | None] = {}
        self.claimed_evals: set[int] = set()
        self.created: set[int] = set()
        self.registering = asyncio.Lock()
        self.backup: backup.Backup | None = None
        self.monitor: RunningMonitor | None = None
        self.failure: BaseException | None = None
        self.closed: asyncio.Event | None = None
        self.runs_joined = 0
        self.signals = signals
        self.grace = 0.0
        self._log: RunLog | None = None
        self._opening = asyncio.Lock()
        self._threads = set(threading.enumerate())
        self._serving: asyncio.Task[None] | None = None
        self._ready = asyncio.Event()
        self._closing = asyncio.Event()

    # --- open and close

    async def open(self) -> None:
        """Open the state file, once, and start the housekeeping.

        Raises:
            StateError: another process runs this run set, or the file cannot be used.
        """
        async with self._opening:
            if self._serving is not None:
                return
            self.resumed = await self.store.open_run_set(is_new=self.key is None)
            self._log = RunLog(self.run_set_id)
            self._serving = asyncio.create_task(self._serve(), name="nanoeval run set")
            unregister(self._serving)  # `close` ends it, not `asyncio.run`
            await self._ready.wait()

    async def _serve(self) -> None:
        executors = self.executors
        try:
            async with asyncio.TaskGroup() as executors.group:
                house = executors.group.create_task(_keep_house(self), name="housekeeping")
                if self.resumed:
                    # Reads the whole file: while tasks run, not before.
                    executors.group.create_task(self.store.check_pages(), name="check pages")
                self._ready.set()
                await self._closing.wait()
                await executors.stop()
                house.cancel()
        except asyncio.CancelledError:
            raise
        except BaseException as failure:  # noqa: BLE001  every run raises it
            while isinstance(failure, BaseExceptionGroup) and len(failure.exceptions) == 1:
                failure = failure.exceptions[0]
            self.failure = failure
            self.fail(failure)
        finally:
            self._ready.set()
            for pool in executors.pools.values():
                pool.kill()
            executors.group = None

    async def close(self) -> None:
        """Stop the executors, write the last backup, close the file."""
        try:
            if self.monitor is not None:
                await asyncio.to_thread(self.monitor.close)
            if self._serving is not None and self._log is not None:
                self._closing.set()
                await asyncio.wait([self._serving])
                try:
                    if not (self.resumed or self.created):
                        remove_files_of(self.path)  # a run that was refused leaves nothing
                    elif not self.path.exists() or self.path.stat().st_ino != self.store.inode:
                        await self.store.call(backup.put_back, self.path)
                    if self.backup is not None:
                        await self.backup.write()
                    if self.failure is None and (self.resumed or self.executors.pools):
                        await self.store.call(remove_recorded, shared_dir(self.path))
                finally:
                    await self.store.__aexit__(None, None, None)
                    self._log.finish()
        finally:
            self.store.close_soon()
            name_threads_that_hold_the_process(self._threads)

    # --- evals

    async def start(self, run: EvalRun) -> None:
        """Run the tasks of an eval that is in the state file."""
        if self.failure is not None:
            raise self.failure
        runner = run.spec.runner
        self.outbox.runs[run.eval_id] = run
        if runner.should_backup and self.backup is None:
            self.backup = backup.Backup(self.path, runner.backup_interval)
        await self.executors.start(run)
        await self.store.call(transactions.start_eval, run.eval_id)
        self.executors.wake()

    def fail(self, error: BaseException) -> None:
        """End every eval with `error`: the executors cannot go on."""
        for run in self.outbox.runs.values():
            run.fail(error)

    async def requeue(self, run: EvalRun, grace: float = 0.0) -> None:
        """Give the eval's tasks in flight `grace` seconds, then requeue them."""
        if grace:
            await self.store.call(transactions.stop_claims, run.eval_id)
            await self._until_idle(run, grace)
        if not self.executors.is_killed:
            await self.store.call(transactions.stop_eval, run.eval_id)
            self.executors.wake()
            await self._until_idle(run, REQUEUE_SECONDS)

    async def _until_idle(self, run: EvalRun, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not self.executors.is_killed and self.executors.group is not None:
            changed = self.outbox.changed
            row = await self.store.call(transactions.get_eval, run.eval_id)
            left = deadline - time.monotonic()
            if not row.leased or left <= 0:
                return
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(changed.wait(), min(left, 1.0))

    async def stop(self, run: EvalRun) -> None:
        """Requeue what the eval has in flight, and have its context left."""
        await self.requeue(run)
        await self.executors.leave(run)

    async def start_monitor(self, start: StartMonitor) -> None:
        """Start the web monitor, once, and say where it is; without it the run goes on."""
        async with self._opening:
            if self.monitor is None:
                try:
                    self.monitor = await asyncio.to_thread(start, self.path)
                except Exception as error:  # noqa: BLE001  reported
                    log.error("no monitor: %s", error)  # noqa: TRY400  its trace helps nobody
                    return
                say(f"monitor: {self.monitor.url}")

    # --- interruption

    async def to_its_end(self, ending: Coroutine[Any, Any, None]) -> None:
        """Await `ending` however often this task is cancelled, which is raised then.

        Contexts that are being left get no more time from the first cancellation on.
        """
        task = asyncio.create_task(ending)
        unregister(task)  # `asyncio.run` cancels every task there is, in whatever it is
        cancelled: asyncio.CancelledError | None = None
        while not task.done():
            try:
                await asyncio.wait([task])
            except asyncio.CancelledError as error:
                cancelled = error
                self.executors.hurry.set(0.0)
        if cancelled is not None:
            if not task.cancelled() and task.exception() is not None:
                log.error("closing a run set failed", exc_info=task.exception())
            raise cancelled
        task.result()

    @property
    def can_finish(self) -> bool:
        """Whether tasks are in flight that a first Ctrl-C should let finish."""
        return any(run.is_running for run in self.outbox.runs.values())

    def interrupt(self) -> None:
        """Let tasks in flight finish and start no others; cancel runs that have none."""
        self.executors.hurry.set(self.grace)
        for task, run in list(self.drivers.items()):
            if run is not None and run.is_running:
                run.stop()
            elif task is not None:
                task.cancel(self.signals.name)

    def stop_at_once(self) -> None:
        """Kill executors elsewhere, and wait for nothing from here on; safe in a signal handler."""
        self.executors.is_killed = True
        for pool in self.executors.pools.values():
            pool.kill()

    def inspect(self) -> None:
        if self.executors.group is not None:
            self.executors.group.create_task(self.executors.inspect(), name="inspect")


async def _keep_house(run_set: RunSet) -> None:
    """Notice limits that other processes changed, keep the time, write backups."""
    limits: object = None
    while True:
        await asyncio.sleep(HOUSEKEEPING_SECONDS)
        rows = await run_set.store.call(transactions.list_evals)
        total = await run_set.store.call(transactions.get_metadata, "global_limit")
        now = [row.concurrency for row in rows], total
        if limits is not None and now != limits:
            run_set.executors.wake()
        limits = now
        for row in rows:
            if row.id in run_set.outbox.runs:
                run_set.outbox.runs[row.id].limit = row.concurrency
        times = [(run.elapsed, run.eval_id) for run in run_set.outbox.runs.values()]
        await run_set.store.call(transactions.set_elapsed, times)
        if run_set.executors.pools:
            run_set.executors.reports = await run_set.store.call(transactions.list_executors)
            run_set.executors.committed.set()
        if run_set.backup is not None and run_set.backup.is_due:
            await run_set.backup.write()


class RunSets:
    """What the runs of one event loop share: run sets, the display, the signals that end them.

    Attributes:
        run_sets: those that are open or being closed.
        holds: how often it was asked to keep run sets open, and not yet to `end_hold`.
    """

    def __init__(self) -> None:
        self.board: Board | None = None
        self.run_sets: list[RunSet] = []
        self.signals: Signals | None = None
        self.holds = 0

    async def leave(self, run_set: RunSet) -> None:
        """Close the run set with the last to leave, unless it is held. Then pass on the signal."""
        run_set.runs_joined -= 1
        interrupted = run_set.signals.number is not None
        held = self.holds and run_set.failure is None and not interrupted
        if run_set.runs_joined == 0 and not held:
            await self._close(run_set)
        if interrupted and not any(each.runs_joined for each in self.run_sets):
            asyncio.get_running_loop().call_soon(run_set.signals.pass_on)

    async def _close(self, run_set: RunSet) -> None:
        run_set.closed = asyncio.Event()
        try:
            await run_set.close()
        finally:
            run_set.closed.set()
            self.run_sets.remove(run_set)
            if not self.run_sets:
                run_set.signals.restore()
                self.signals = None

    async def end_hold(self) -> list[BaseException]:
        """End one hold; with the last, close the run sets and return what made them fail."""
        self.holds = max(0, self.holds - 1)
        if self.holds:
            return []
        failures = []
        for run_set in [*self.run_sets]:
            if run_set.runs_joined == 0 and run_set.closed is None:
                await self._close(run_set)
                if run_set.failure is not None:
                    failures.append(run_set.failure)
        return failures


_of_loop = weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, RunSets]()


def run_sets() -> RunSets:
    """Return the owner of the run sets of the running event loop."""
    return _of_loop.setdefault(asyncio.get_running_loop(), RunSets())


def may_exit(loop: asyncio.AbstractEventLoop) -> bool:
    """Return whether code may end the program: no run goes on there, or a signal came for it."""
    owner = _of_loop.get(loop)
    return owner is None or owner.signals is None or owner.signals.number is not None


@contextlib.asynccontextmanager
async def joined(run_set_id: str | None) -> AsyncIterator[RunSet]:
    """Join a run set, and leave it whatever happens.

    After a signal, leaving waits until all runs have left; then it raises `CancelledError`, and
    what the signal would have done is done.
    """
    owner = run_sets()
    for run_set in owner.run_sets:
        if run_set.key == run_set_id and run_set.closed is None:
            break
    else:
        owner.signals = owner.signals or Signals(owner.run_sets)
        run_set = RunSet(run_set_id, owner.signals)
        owner.run_sets.append(run_set)
    run_set.runs_joined += 1
    try:
        for before in [*owner.run_sets]:
            if before.closed is not None and before.path == run_set.path:
                await before.closed.wait()
        run_set.signals.install()
        await run_set.open()
        yield run_set
    finally:
        await run_set.to_its_end(owner.leave(run_set))
        if run_set.signals.number is not None:
            await run_set.signals.passed_on()
