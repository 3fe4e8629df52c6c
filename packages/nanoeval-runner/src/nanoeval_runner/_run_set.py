"""A run set being run: one state file and its executors, shared by the runs of one event loop.

`run` joins a run set and leaves it; the first to join opens the file, the last to leave closes
everything. Its background work (executors, housekeeping) is in one task group, so that nothing
outlives it and no failure is lost.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import logging
import os
import socket
import threading
import time
import weakref
from collections.abc import AsyncIterator, Coroutine, Iterator
from typing import Any

from nanoeval_core.errors import ConfigError
from nanoeval_core.executors import IN_PROCESS, ExecutorConfig, find_executor
from nanoeval_core.recorder_protocol import uuid
from nanoeval_core.run_context import RunContext
from nanoeval_core.spec import RunnerArgs

from nanoeval_runner._display.board import Board
from nanoeval_runner._eval_run import EvalRun
from nanoeval_runner._executors.loop import ExecutorLoop, abandon
from nanoeval_runner._executors.pool import STOP_SECONDS, Pool
from nanoeval_runner._executors.threads import name_threads_that_hold_the_process
from nanoeval_runner._executors.watchdog import BEAT_SECONDS, HeartbeatConnection, Watchdog
from nanoeval_runner._housekeeping import keep_house, watch_executors
from nanoeval_runner._inspection import describe, start_aiomonitor
from nanoeval_runner._interrupts import Signals, say
from nanoeval_runner._monitors import MonitorOfRun
from nanoeval_runner._outbox import DriverSource, Outbox
from nanoeval_runner._queue import backup, transactions
from nanoeval_runner._queue.event_segments import remove_recorded
from nanoeval_runner._queue.paths import remove_files_of, shared_dir, state_file
from nanoeval_runner._queue.rows import ExecutorRow
from nanoeval_runner._queue.store import Store
from nanoeval_runner.resume_command import resume_command
from nanoeval_runner.run_log import RunLog

log = logging.getLogger("nanoeval.runner")

RELEASE_SECONDS = 6.0
"""How long executors may take to give tasks back: a little longer than they give an attempt."""

HURRIED_SECONDS = 3.0
"""How long executors may take to stop after a signal, at least."""

INSPECTED = 10


class RunSet:
    """One state file and its executors. `joined` makes one.

    Attributes:
        store: the state file, opened.
        outbox: where committed batches go.
        resumed: whether the file existed before.
        taken: the ids of evals that a call of `run` is working on.
        created: the ids of evals that were new to this run set.
        registering: held while a run looks for an eval to go on with.
        pools: executors outside of this process, by the pool's name.
        local: the executor in this process, once there is one.
        executors: what executors elsewhere said of themselves last.
        failure: what makes it impossible to go on, if anything did.
    """

    def __init__(self, run_set_id: str | None, owner: RunSets, signals: Signals) -> None:
        self.owner = owner
        self.run_set_id = run_set_id or uuid()
        self.path = state_file(self.run_set_id)
        self.store = Store(self.path)
        self.outbox = Outbox(self.store)
        self.resumed = False
        self.taken: set[int] = set()
        self.created: set[int] = set()
        self.registering = asyncio.Lock()
        self.pools: dict[str, Pool] = {}
        self.local: ExecutorLoop | None = None
        self.executors: list[ExecutorRow] = []
        self.backup: backup.Backup | None = None
        self.monitor: MonitorOfRun | None = None
        self.failure: BaseException | None = None
        self.members = 0
        self.signals = signals
        self.hurried = asyncio.Event()
        self.committed_elsewhere = asyncio.Event()
        self.is_killed = False
        self.grace = 0.0
        self._context = contextvars.copy_context()  # signals arrive in others
        self._drivers: dict[asyncio.Task[Any], EvalRun | None] = {}
        self._is_new = run_set_id is None
        self._log = RunLog(self.run_set_id)
        self._opening = asyncio.Lock()
        self._is_open = False
        self._threads: set[threading.Thread] = set()
        self._group: asyncio.TaskGroup | None = None
        self._helpers: list[asyncio.Task[None]] = []
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
            if self._is_open:
                return
            self._threads.update(threading.enumerate())
            self.resumed = await self.store.open_run_set(is_new=self._is_new)
            if self.resumed:
                await self.outbox.start()
            self._log.open()
            self._serving = asyncio.create_task(self._serve(), name="nanoeval run set")
            abandon(self._serving)  # `close` ends it, not `asyncio.run`
            self._serving.add_done_callback(self._serving_ended)
            self._is_open = True
            await self._ready.wait()

    async def _serve(self) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                self._helpers.append(group.create_task(keep_house(self), name="housekeeping"))
                if self.resumed:
                    # Reads the whole file: while tasks run, not before.
                    group.create_task(self.store.check_pages(), name="check pages")
                self._ready.set()
                await self._closing.wait()
                if self.local is not None:
                    self.local.stop()
                within = min(STOP_SECONDS, max(self.grace, HURRIED_SECONDS))
                within = within if self.hurried.is_set() else STOP_SECONDS
                for pool in self.pools.values():
                    await pool.stop(0.0 if self.is_killed else within)
                for helper in self._helpers:
                    helper.cancel()
        finally:
            self.kill_executors()
            self._group = None

    def _serving_ended(self, serving: asyncio.Task[None]) -> None:
        self._ready.set()
        failure = None if serving.cancelled() else serving.exception()
        while isinstance(failure, BaseExceptionGroup) and len(failure.exceptions) == 1:
            failure = failure.exceptions[0]
        if failure is not None:
            self.failure = failure
            self.fail(failure)

    async def _collect(self) -> None:
        while True:
            await self.committed_elsewhere.wait()
            self.committed_elsewhere.clear()
            await self.outbox.collect()

    async def close(self) -> None:
        """Stop the executors, write the last backup, close the file."""
        try:
            if self.monitor is not None:
                await self.monitor.close()
            if self._is_open and self._serving is not None:
                self._closing.set()
                await asyncio.wait([self._serving])
                try:
                    if not (self.resumed or self.created):
                        remove_files_of(self.path)  # a run that was refused leaves nothing
                    elif not self.path.exists() or self.path.stat().st_ino != self.store.inode:
                        await self.store.call(backup.put_back, self.path)
                    if self.backup is not None:
                        await self.backup.write(segments=self.has_segments)
                    if self.failure is None and self.has_segments:
                        folder = shared_dir(self.path)
                        await self.store.call(remove_recorded, folder, all_ended=True)
                finally:
                    await self.store.__aexit__(None, None, None)
                    await self._log.finish()
        finally:
            self.kill_executors()
            self.store.abandon()
            name_threads_that_hold_the_process(self._threads)

    @property
    def has_segments(self) -> bool:
        """Whether executors elsewhere may have recorded events outside of the state file."""
        return bool(self.pools) or self.resumed

    # --- evals

    @contextlib.contextmanager
    def driving(self) -> Iterator[None]:
        """Have signals reach the task that drives an eval, from before it has one."""
        task = asyncio.current_task()
        assert task is not None  # noqa: S101  coroutines run in tasks
        self._drivers[task] = None
        try:
            yield
        finally:
            del self._drivers[task]

    def drive(self, run: EvalRun) -> None:
        """Note which eval the calling task drives."""
        task = asyncio.current_task()
        assert task is not None  # noqa: S101  coroutines run in tasks
        self._drivers[task] = run
        self.grace = max(self.grace, run.spec.runner.shutdown_grace)

    async def start(self, run: EvalRun) -> None:
        """Run the tasks of an eval that is in the state file."""
        if self.failure is not None:
            raise self.failure
        runner = run.spec.runner
        self.outbox.runs[run.eval_id] = run
        if runner.should_backup and self.backup is None:
            self.backup = backup.Backup(self.path, runner.backup_interval)
        if run.pool == IN_PROCESS:
            await self._start_local()
        else:
            assert self._group is not None  # noqa: S101  open() came first
            pool = self.pools.get(run.pool)
            if not self.pools:
                for helper in (self._collect(), watch_executors(self, self._group)):
                    self._helpers.append(self._group.create_task(helper))
            if pool is None:
                pool = self.pools[run.pool] = make_pool(runner, self)
            await pool.grow(runner.num_processes)
        await self.store.call(transactions.start_eval, run.eval_id)
        self.wake()

    async def _start_local(self) -> None:
        async with self._opening:
            if self.local is not None:
                return
            executor_id = await self.store.call(
                transactions.add_executor, "main", IN_PROCESS, os.getpid(), socket.gethostname()
            )
            self.local = ExecutorLoop(
                executor_id=executor_id,
                pool=IN_PROCESS,
                source=DriverSource(self.store, self.outbox),
                run_context=RunContext(
                    run_set_id=self.run_set_id, shared_dir=shared_dir(self.path), executor="main"
                ),
            )
            assert self._group is not None  # noqa: S101  open() came first
            self._group.create_task(self._run_local(self.local), name="executor main")

    async def _run_local(self, executor: ExecutorLoop) -> None:
        with (
            contextlib.closing(HeartbeatConnection(self.path)) as heartbeats,
            Watchdog(executor, heartbeats.beat),
        ):
            await executor.run()
        await self.store.call(transactions.end_executor, executor.executor_id, died=False)

    @property
    def group(self) -> asyncio.TaskGroup:
        assert self._group is not None, "the run set is open"  # noqa: S101
        return self._group

    def fail(self, error: BaseException) -> None:
        """The executors cannot go on, for any eval."""
        for run in self.outbox.runs.values():
            run.fail(error)

    def wake(self) -> None:
        """Have every executor look at the state file now."""
        if self.local is not None:
            self.local.wake()
        for pool in self.pools.values():
            pool.wake()

    async def drain(self, run: EvalRun, grace: float) -> None:
        """Give the eval's tasks in flight `grace` seconds, then give them back to the queue."""
        await self.store.call(transactions.drain_eval, run.eval_id)
        await self._until_idle(run, grace)
        await self.release(run)

    async def release(self, run: EvalRun) -> None:
        """Give what the eval has in flight back to the queue, now."""
        if not self.is_killed:
            await self.store.call(transactions.stop_eval, run.eval_id)
            self.wake()
            await self._until_idle(run, RELEASE_SECONDS)

    async def _until_idle(self, run: EvalRun, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not self.is_killed and self._group is not None:
            changed = self.outbox.changed
            row = await self.store.call(transactions.get_eval, run.eval_id)
            left = deadline - time.monotonic()
            if not row.leased or left <= 0:
                return
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(changed.wait(), min(left, 1.0))

    async def leave_context(self, run: EvalRun) -> None:
        """Wait until every executor has left the eval's context; what that raises fails the run."""
        if run.pool == IN_PROCESS:
            if self.local is not None:
                await self.local.leave(run.eval_id)
        elif run.pool in self.pools and not self.is_killed and self._group is not None:
            pool = self.pools[run.pool]
            await pool.leave(run.eval_id, hurried=self.hurried, within=lambda: self.grace)
            await self.outbox.collect()
        self.wake()

    async def give_back(self, run: EvalRun) -> None:
        """Release what the eval has in flight, and have its context left."""
        await self.release(run)
        await self.leave_context(run)

    def forget(self, run: EvalRun) -> None:
        """Nothing more is asked for this run."""
        self.outbox.runs.pop(run.eval_id, None)
        self.outbox.records.pop(run.eval_id, None)
        self.taken.discard(run.eval_id)

    # --- interruption

    @property
    def can_drain(self) -> bool:
        """Whether tasks are in flight that a first Ctrl-C should let finish."""
        return any(run.is_running for run in self.outbox.runs.values())

    def interrupt(self) -> None:
        """Let tasks in flight finish and start no others; cancel runs that have none."""
        self.hurry(self.grace)
        for task, run in list(self._drivers.items()):
            if run is not None and run.is_running:
                run.stop(self.signals.name)
            else:
                task.cancel(self.signals.name)

    def hurry(self, grace: float) -> None:
        """Give contexts that are being left only so long from now on."""
        self.grace = grace
        self.hurried.set()
        if self.local is not None:
            self.local.hurry(grace)

    def kill_executors(self) -> None:
        """Kill executors in processes of their own, now; safe in a signal handler."""
        for pool in self.pools.values():
            pool.kill()

    def stop_at_once(self) -> None:
        """Wait for nothing from here on; safe in a signal handler."""
        self.is_killed = True
        self.kill_executors()

    def inspect(self) -> None:
        """Print where everything is: executors, commands to look at them, slowest attempts."""
        if self._group is not None:
            self._group.create_task(self._inspect(), name="inspect")

    async def _inspect(self) -> None:
        for pool in self.pools.values():
            pool.inspect()
        slowest = self.local.slowest(INSPECTED) if self.local is not None else []
        if self.local is not None:
            await start_aiomonitor(self.local.run_context)
        await asyncio.sleep(2 * BEAT_SECONDS)  # executors publish with their next heartbeat
        say(describe(await self.store.call(transactions.list_executors), slowest))

    def resume_hint(self) -> str:
        """The command that goes on with this run set."""
        command = self._context.run(resume_command, self.run_set_id)
        return f"To resume: {command}" if command else ""


def check_executor(runner: RunnerArgs) -> None:
    """Raise `ConfigError` unless what `runner` names is installed."""
    if runner.executor_name != IN_PROCESS and not runner.uses_multiprocessing:
        _engine_config(runner)


def _engine_config(runner: RunnerArgs) -> ExecutorConfig:
    if isinstance(runner.executor, ExecutorConfig):
        return runner.executor
    config = find_executor(runner.executor_name)()
    if not isinstance(config, ExecutorConfig):
        raise ConfigError(
            f"RunnerArgs.executor={runner.executor!r}: its entry point gives a "
            f"{type(config).__name__}, not an ExecutorConfig; ask the package that registers it"
        )
    return config


def make_pool(runner: RunnerArgs, run_set: RunSet) -> Pool:
    """Return the executors that `runner` names, none of them started yet."""
    shared = (run_set.store, run_set.group, run_set.committed_elsewhere.set, run_set.fail)
    if runner.uses_multiprocessing:
        # Deferred: multiprocess is needed by the process pool only.
        from nanoeval_runner._executors.process_pool import ProcessPool  # noqa: PLC0415

        return ProcessPool(*shared)
    # Deferred: runs without an engine do not need it.
    from nanoeval_runner._executors.remote_pool import RemotePool  # noqa: PLC0415

    return RemotePool(_engine_config(runner), *shared)


class RunSets:
    """What the runs of one event loop share: run sets, the display, the signals that end them."""

    def __init__(self) -> None:
        self.board: Board | None = None
        self.by_id: dict[str | None, RunSet] = {}
        self.signals: Signals | None = None
        self.holds = 0
        self._closing: dict[str, asyncio.Event] = {}

    def join(self, run_set_id: str | None) -> RunSet:
        """Return the run set of that id, or the one for runs that name none."""
        run_set = self.by_id.get(run_set_id)
        if run_set is None:
            if self.signals is None:
                self.signals = Signals()
            run_set = self.by_id[run_set_id] = RunSet(run_set_id, self, self.signals)
            self.signals.run_sets.append(run_set)
        run_set.members += 1
        return run_set

    async def open(self, run_set: RunSet) -> None:
        """Open what `join` returned, once the one before it has closed the same state file."""
        closing = self._closing.get(run_set.run_set_id)
        if closing is not None:
            await closing.wait()
        run_set.signals.install()
        await run_set.open()

    async def leave(self, run_set: RunSet) -> None:
        """Close the run set with the last to leave, unless it is held. Then pass on the signal."""
        run_set.members -= 1
        interrupted = run_set.signals.number is not None
        held = self.holds and run_set.failure is None and not interrupted
        if run_set.members == 0 and not held:
            await self._close(run_set)
        if interrupted and not any(each.members for each in self.by_id.values()):
            run_set.signals.pass_on()

    async def _close(self, run_set: RunSet) -> None:
        for key in [k for k, each in self.by_id.items() if each is run_set]:
            del self.by_id[key]
        closed = self._closing[run_set.run_set_id] = asyncio.Event()
        try:
            await run_set.close()
        finally:
            closed.set()
            if self._closing.get(run_set.run_set_id) is closed:
                del self._closing[run_set.run_set_id]
            run_set.signals.run_sets.remove(run_set)
            if not run_set.signals.run_sets:
                run_set.signals.restore()
                if self.signals is run_set.signals:
                    self.signals = None

    def open_ids(self) -> list[str | None]:
        """Return what `joined` takes for each run set that is open."""
        return list(self.by_id)

    def hold(self) -> None:
        """Keep run sets open until `release`. Holds nest."""
        self.holds += 1

    async def release(self) -> list[BaseException]:
        """End one hold; with the last, close the run sets and return what made them fail."""
        self.holds = max(0, self.holds - 1)
        if self.holds:
            return []
        idle = [each for each in self.by_id.values() if each.members == 0]
        for run_set in idle:
            await self._close(run_set)
        return [each.failure for each in idle if each.failure is not None]


_of_loop: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, RunSets]
_of_loop = weakref.WeakKeyDictionary()


def run_sets() -> RunSets:
    """Return the owner of the run sets of the running event loop."""
    return _of_loop.setdefault(asyncio.get_running_loop(), RunSets())


def nobody_interrupted(loop: asyncio.AbstractEventLoop) -> bool:
    """Whether runs go on there, and no signal has come: they answer the first one."""
    owner = _of_loop.get(loop)
    return owner is not None and owner.signals is not None and owner.signals.number is None


@contextlib.asynccontextmanager
async def joined(run_set_id: str | None) -> AsyncIterator[RunSet]:
    """Join a run set, and leave it whatever happens.

    After a signal, leaving waits until all runs have left; then it raises `CancelledError`, and
    what the signal would have done is done.
    """
    owner = run_sets()
    run_set = owner.join(run_set_id)
    try:
        await owner.open(run_set)
        yield run_set
    finally:
        await to_its_end(owner.leave(run_set), on_cancel=lambda: run_set.hurry(0.0))
        if run_set.signals.number is not None:
            await run_set.signals.passed_on()


async def to_its_end(coroutine: Coroutine[Any, Any, None], *, on_cancel: Any) -> None:
    """Await `coroutine` to its end, however often this task is cancelled; that is raised then."""
    task = asyncio.create_task(coroutine)
    abandon(task)  # `asyncio.run` cancels every task there is, in whatever it is
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError as error:
            cancelled = error
            on_cancel()
    if cancelled is not None:
        if not task.cancelled() and task.exception() is not None:
            log.error("closing a run set failed", exc_info=task.exception())
        raise cancelled
    task.result()
