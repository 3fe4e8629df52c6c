"""The executor loop: claim → evaluate → commit. The same code runs in every kind of executor.

This is the hot path. What is done per batch is written for reading; what is done per attempt
(`_start`, `_evaluate`, `_finish`) is kept to the few microseconds it must cost: plain asyncio
tasks, no task group, one context copy.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import time
from collections.abc import AsyncIterator, Mapping
from contextvars import Context
from typing import Any

from nanoeval_core.executors import IN_PROCESS
from nanoeval_core.recording import recorder as current_recorder
from nanoeval_core.run_context import RunContext
from nanoeval_core.usage import current_usage_meter

from nanoeval_runner._executors.attempts import (
    Attempt,
    Cut,
    OpenEval,
    awaiting,
    begun_in,
    innermost,
    where_begun,
)
from nanoeval_runner._executors.source import TaskSource
from nanoeval_runner._executors.threads import use_threads
from nanoeval_runner._failures import annotate
from nanoeval_runner._payloads import copy_of
from nanoeval_runner._queue.rows import Completion, ExchangeReply, ExchangeRequest, Lease
from nanoeval_runner._queue.states import CLAIM_SECONDS, next_chunk

log = logging.getLogger("nanoeval.runner")

POLL_SECONDS = 2.0
"""The safety net: executors are woken, and look by themselves only this often."""

COMMIT_WINDOW = 0.002
"""Seconds between commits while other attempts are running, so that results share a transaction."""

LARGEST_CHUNK = 512
FIRST_CHUNK_ALONE = 256
FIRST_CHUNK_IN_POOL = 8

CANCEL_SECONDS = 5.0
"""How long a cancelled attempt or context may take to end before the executor goes on without."""


@dataclasses.dataclass(slots=True)
class _Claim:
    """The leases of one claim, timed until the last of them has started."""

    size: int
    unstarted: int
    claimed_at: float


@dataclasses.dataclass
class Hurry:
    """How long is waited for what is being left: as long as it takes, until `set` says less."""

    seconds: float | None = None
    _limits: set[asyncio.Timeout] = dataclasses.field(default_factory=set)

    def set(self, seconds: float) -> None:
        """Wait no longer than this from now on, for what is being waited for too."""
        self.seconds = seconds
        for limit in self._limits:
            if not limit.expired():
                limit.reschedule(asyncio.get_running_loop().time() + seconds)

    @contextlib.asynccontextmanager
    async def limit(self) -> AsyncIterator[None]:
        """Cut the block short once that time is over."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.seconds) as limit:
                self._limits.add(limit)
                try:
                    yield
                finally:
                    self._limits.remove(limit)


@dataclasses.dataclass(eq=False, kw_only=True)
class ExecutorLoop:
    """Runs the tasks of every eval that its source has, until told to stop.

    Attributes:
        executor_id: its row in the state file.
        pool: which evals are its own.
        in_driver: it shares the driver's memory: tasks and results pass as objects, and every
            attempt gets a copy of its task.
        claim_seconds: of tasks that compute, about how much is claimed at a time.
        hurry: how long contexts may take that are being left.
    """

    executor_id: int
    pool: str
    source: TaskSource
    run_context: RunContext
    claim_seconds: float = CLAIM_SECONDS
    hurry: Hurry = dataclasses.field(default_factory=Hurry)

    def __post_init__(self) -> None:
        self.evals: dict[int, OpenEval] = {}
        self.fenced = False
        self.last_progress = time.monotonic()
        self.in_flight = 0
        self._loop = asyncio.get_running_loop()
        self._wake = asyncio.Event()
        self._finished: list[Completion] = []
        self.in_driver = self.pool == IN_PROCESS
        self._first_chunk = FIRST_CHUNK_ALONE if self.in_driver else FIRST_CHUNK_IN_POOL
        self._chunk = self._first_chunk
        self._unstarted = 0
        self._losses: dict[int, int] = {}
        self._reply = ExchangeReply([], {})
        self._more = True
        self._stopping = False
        self._last_exchange = 0.0
        self._eval_tasks: dict[int, asyncio.Task[None]] = {}

    # --- what its owner calls

    def wake(self) -> None:
        """Look at the state file at once: something may have changed in it."""
        self._more = True
        self._wake.set()

    def stop(self) -> None:
        """Claim nothing more, requeue what is in flight, and end when all of it has."""
        self._stopping = True
        for open_eval in self.evals.values():
            self._requeue(open_eval)
        self._wake.set()

    def slowest(self, n: int) -> list[Attempt]:
        """Return the `n` attempts that have been running longest, longest first."""
        attempts = [a for e in self.evals.values() for a in list(e.attempts.values())[:n]]
        return sorted(attempts, key=lambda a: -a.seconds)[:n]

    def moving_contexts(self, seconds: float) -> list[str]:
        """Say of each context that has been entered or left for this long where it is."""
        now = time.monotonic()
        return [
            f"{e.doing} the context of eval {e.name!r} has taken {now - e.since:.0f} s, at "
            + (innermost(awaiting(self._eval_tasks[e.eval_id].get_coro())) or "its start")
            for e in self.evals.values()
            if e.doing and now - e.since >= seconds and e.eval_id in self._eval_tasks
        ]

    async def run(self) -> None:
        """Run until stopped (or fenced) and all attempts are over; then leave every context."""
        try:
            while not self.fenced and (not self._stopping or self.in_flight or self._finished):
                await self._wait()
                await self._exchange()
        finally:  # also when it was cancelled, or declared dead
            self.stop()
            runners = set()
            for open_eval in self.evals.values():
                for attempt in open_eval.attempts.values():
                    if attempt.runner is not None:
                        runners.add(attempt.runner)
            if runners:
                await asyncio.wait(runners, timeout=CANCEL_SECONDS)
            for open_eval in self.evals.values():
                self._close(open_eval, at_once=True)
            await self._left(set(self._eval_tasks.values()))
            if begun := begun_in(self.run_context):
                for task in begun:
                    unregister(task)
                _ending.add(ending := self._loop.create_task(end_with_event_loop(begun)))
                ending.add_done_callback(_ending.discard)

    # --- waiting

    async def _wait(self) -> None:
        """Wait until there is something to commit or to claim."""
        if self._finished:
            since = time.monotonic() - self._last_exchange
            if self.in_flight and since < COMMIT_WINDOW and len(self._finished) < LARGEST_CHUNK:
                await asyncio.sleep(COMMIT_WINDOW - since)
            return
        if self._more and self._want() > 0:
            return
        self._wake.clear()
        due = self._reply.next_due
        delay = POLL_SECONDS if due is None else min(due, POLL_SECONDS)
        timer = self._loop.call_later(delay, self.wake)
        try:
            await self._wake.wait()
        finally:
            timer.cancel()

    def _want(self) -> int:
        """Return how many tasks to claim: one chunk ahead of those that have started, no more."""
        if self._stopping or self._unstarted > self._chunk:
            return 0
        limits, executors = self._reply.running.values(), self._reply.executors
        if executors > 1 and None not in limits:
            # An executor's part of the limit, so that those still starting find work too.
            part = sum(-(-limit // executors) for limit in limits if limit)
            return max(0, min(self._chunk, part - self.in_flight))
        return self._chunk

    # --- one transaction

    async def _exchange(self) -> None:
        ready = []
        for eval_id, task in list(self._eval_tasks.items()):
            open_eval = self.evals.get(eval_id)
            if task.done():
                # Forgotten before asking, not on the reply: a reply may be older than the end.
                del self._eval_tasks[eval_id]
                self.evals.pop(eval_id, None)
            elif open_eval is not None and not (open_eval.doing or open_eval.closing.is_set()):
                ready.append(eval_id)
        completions, self._finished = self._finished, []
        want = self._want()
        request = ExchangeRequest(
            executor_id=self.executor_id,
            completions=completions,
            want=want,
            ready_evals=ready,
            pool=self.pool,
            in_flight=self.in_flight,
            losses=max(self._losses.values(), default=0),
        )
        self._more = False
        reply = await self.source.exchange(request)
        self._last_exchange = time.monotonic()
        if completions:
            self.last_progress = self._last_exchange
        if reply.fenced:
            self.fenced = True
            for open_eval in self.evals.values():
                self._requeue(open_eval)
            return
        self._reply = reply
        for eval_id in reply.running:
            if eval_id not in self._eval_tasks and not self._stopping:
                self._open(eval_id)
        for open_eval in list(self.evals.values()):
            if open_eval.eval_id not in reply.running:
                self._close(open_eval)
        if reply.leases:
            # A claim that was filled, or nearly, says that there is more.
            self._more = self._more or 2 * len(reply.leases) >= want
            claim = _Claim(len(reply.leases), len(reply.leases), self._last_exchange)
            self._unstarted += claim.size
            self.in_flight += claim.size
            for lease in reply.leases:
                self._start(lease, claim)

    # --- evals

    def _open(self, eval_id: int) -> None:
        self._chunk = self._first_chunk  # other tasks may have started faster than its do
        context, name = self.source.context(eval_id), f"eval {eval_id}"
        task = self._loop.create_task(self._serve_eval(eval_id), name=name, context=context)
        self._eval_tasks[eval_id] = task
        if not self.in_driver:  # where `leave` waits for it
            task.add_done_callback(lambda _: self.source.left(eval_id))

    async def _serve_eval(self, eval_id: int) -> None:
        """Load an eval, hold its context open, and report what goes wrong with either."""
        place = "loading it"
        try:
            loaded = await self.source.load(eval_id)
            if self._stopping:
                return
            opened = OpenEval(eval_id, loaded, self.run_context, in_driver=self.in_driver)
            place = f"in the context of eval {opened.name!r}"
            use_threads(loaded.spec.runner.concurrency)
            self.evals[eval_id] = opened
            await opened.serve(self.wake)
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # it ends the eval, and `run` raises it
            if eval_id not in self._eval_tasks:
                raise  # it was left behind, and the event loop is closed
            await self.source.fail_eval(eval_id, annotate(error, place))
            self.wake()

    def _close(self, open_eval: OpenEval, *, at_once: bool = False) -> None:
        """Leave an eval's context, after its attempts were requeued and are over."""
        if open_eval.attempts and not at_once:
            self._requeue(open_eval)
            return
        if open_eval.doing == "entering":
            open_eval.doing = "leaving"
            self._eval_tasks[open_eval.eval_id].cancel()
        open_eval.closing.set()

    async def leave(self, eval_id: int) -> None:
        """Leave an eval's context, its attempts being over."""
        if eval_id in self.evals:
            self._close(self.evals[eval_id])
        if eval_id in self._eval_tasks:
            await self._left({self._eval_tasks[eval_id]})

    async def _left(self, tasks: set[asyncio.Task[None]]) -> None:
        """Wait until contexts are left; in a hurry only for so long, then cancel what hangs."""
        if not tasks:
            return
        async with self.hurry.limit():
            await asyncio.wait(tasks)
        _, tasks = await asyncio.wait(tasks, timeout=0)
        if tasks:
            hanging = self.moving_contexts(0.0)
            log.warning("cancelled, for it hangs: %s", "; ".join(hanging) or "a context")
            for task in tasks:
                task.cancel()
            _, tasks = await asyncio.wait(tasks, timeout=CANCEL_SECONDS)
            for eval_id in [i for i, task in self._eval_tasks.items() if task in tasks]:
                leave_behind(self._eval_tasks.pop(eval_id))
                self.evals.pop(eval_id, None)
                self.source.left(eval_id)

    def _requeue(self, open_eval: OpenEval) -> None:
        for attempt in list(open_eval.attempts.values()):
            self._cut(attempt, Cut.REQUEUED)

    # --- attempts: the hot path

    def _start(self, lease: Lease, claim: _Claim) -> None:
        open_eval = self.evals[lease.eval_id]
        queued = open_eval.task(lease)
        group_id = f"{queued.attempt_id}.{lease.retry_idx}"
        attempt = Attempt(lease, open_eval, queued, group_id)
        open_eval.attempts[lease.task_id] = attempt
        if lease.losses:
            self._losses[lease.task_id] = lease.losses
        # Not `create_task`, which is half as dear as what it makes; nor a name made for each.
        attempt.runner = asyncio.Task(
            self._evaluate(attempt, claim),
            loop=self._loop,
            name=open_eval.name,
            context=open_eval.context.copy(),
        )

    async def _evaluate(self, attempt: Attempt, claim: _Claim) -> None:
        open_eval = attempt.open_eval
        attempt.started = time.monotonic()
        self._unstarted -= 1
        claim.unstarted -= 1
        if not claim.unstarted:
            seconds = attempt.started - claim.claimed_at
            self._chunk = next_chunk(
                claim.size, seconds=seconds, target=self.claim_seconds, largest=LARGEST_CHUNK
            )
            self._wake.set()  # there may be room for the next chunk
        recorder = attempt.new_recorder()
        current_recorder.set(recorder)
        current_usage_meter.set(attempt)
        if open_eval.task_timeout is not None:
            attempt.deadline = self._loop.call_later(
                open_eval.task_timeout, self._cut, attempt, Cut.TIMED_OUT
            )
        error: BaseException | None = None
        result: Any = None
        try:
            task = copy_of(attempt.queued) if open_eval.in_driver else attempt.queued
            if open_eval.recorder_context is None:
                result = await open_eval.evaluate(task)
            else:
                ids = attempt.queued.question_id, attempt.group_id
                with open_eval.recorder_context(recorder, *ids):
                    try:
                        result = await open_eval.evaluate(task)
                    except BaseException as raised:  # noqa: BLE001  no affair of the hook's
                        error = raised
        except BaseException as raised:  # noqa: BLE001  whatever it is, it is the attempt's outcome
            error = raised
        if attempt.lease.task_id in open_eval.attempts:  # else left behind: its outcome is written
            self._finish(attempt, attempt.outcome(result, error, recorder))

    def _finish(self, attempt: Attempt, completion: Completion) -> None:
        if attempt.deadline is not None:
            attempt.deadline.cancel()
        # A cycle otherwise, for the collector to find: its context holds it as the usage meter.
        attempt.runner = None
        del attempt.open_eval.attempts[attempt.lease.task_id]
        self.in_flight -= 1
        if self._losses:
            self._losses.pop(attempt.lease.task_id, None)
        if not self._finished:
            self._wake.set()
        self._finished.append(completion)

    # --- attempts that are cut short

    def _cut(self, attempt: Attempt, why: Cut) -> None:
        """Cancel an attempt; leave it behind if it does not end."""
        if attempt.cut is not None:
            return
        attempt.cut = why
        assert attempt.runner is not None  # noqa: S101  it is not finished
        attempt.runner.cancel()
        if attempt.deadline is not None:
            attempt.deadline.cancel()
        if attempt.started:
            attempt.deadline = self._loop.call_later(
                CANCEL_SECONDS, self._leave_behind, attempt, why
            )
        else:  # cancelled before its first step: `_evaluate` will never run
            self._unstarted -= 1
            self._finish(attempt, attempt.cut_short())

    def _leave_behind(self, attempt: Attempt, why: Cut) -> None:
        assert attempt.runner is not None  # noqa: S101  it has not ended
        log.warning(
            "left behind: task %r does not end although it was cancelled (%s); it is at %s",
            attempt.name,
            why.value,
            attempt.where() or "its start",
        )
        leave_behind(attempt.runner)
        self._finish(attempt, attempt.cut_short())


async def end_with_event_loop(tasks: Mapping[asyncio.Task[Any], Context]) -> None:
    """Let `tasks` go on while the event loop does, and cancel them when `asyncio.run` ends it.

    `asyncio.run` waits for every task that it cancels, for ever. It cancels this one, which waits
    for `CANCEL_SECONDS`.
    """
    try:
        await asyncio.wait(tasks)
    except asyncio.CancelledError:
        for task in tasks:
            task.cancel()
        _, left = await asyncio.wait(tasks, timeout=CANCEL_SECONDS)
        for task in left:
            which = where_begun(task, tasks[task])
            log.warning("left behind: %s does not end although it was cancelled", which)
            leave_behind(task)
        raise


_ending: set[asyncio.Task[None]] = set()
"""What `end_with_event_loop` does: an event loop keeps no task alive."""


def unregister(task: asyncio.Task[Any]) -> None:
    """Have nobody wait for a task that ignores its cancellation, `asyncio.run` included."""
    # Documented in "Extending asyncio", its underscore notwithstanding.
    asyncio.tasks._unregister_task(task)


def leave_behind(task: asyncio.Task[Any]) -> None:
    """Leave behind a task that does not end, for ever: it is not finalized when the program ends.

    Finalizing it would raise GeneratorExit where it waits, and what ignores that too goes on there.
    """
    import ctypes  # noqa: PLC0415  for tasks that do not end

    unregister(task)
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(task))
