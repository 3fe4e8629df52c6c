"""The executor loop: claim → evaluate → commit. The same code runs in every kind of executor.

This is the hot path. What is done per batch is written for reading; what is done per attempt
(`_start`, `_evaluate`, `_finish`) is kept to the few microseconds it must cost: plain asyncio
tasks, no task group, one context copy.
"""

from __future__ import annotations

import asyncio
import pickle
import time
from collections.abc import Sequence
from typing import Any, final

from nanoeval_core import pickling
from nanoeval_core.errors import NotPicklableError, RolloutSystemError, TaskTimeoutError
from nanoeval_core.recording import recorder as current_recorder
from nanoeval_core.run_context import RunContext
from nanoeval_core.usage import UsageMeter, current_usage_meter

from nanoeval_runner._executors.attempts import Attempt
from nanoeval_runner._executors.open_evals import OpenEval
from nanoeval_runner._executors.protocol import EvalLoader, ExecutorEvents, TaskSource
from nanoeval_runner._failures import dump_failure
from nanoeval_runner._garbage import collected_rarely
from nanoeval_runner._queue.rows import Completion, ExchangeReply, ExchangeRequest, Lease
from nanoeval_runner._queue.states import CLAIM_SECONDS, next_chunk, retry_delay

POLL_SECONDS = 2.0
"""The safety net: executors are woken, and look by themselves only this often."""

COMMIT_WINDOW = 0.002
"""Seconds between commits while other attempts are running, so that results share a transaction."""

LARGEST_CHUNK = 512
FIRST_CHUNK_ALONE = 256
FIRST_CHUNK_IN_POOL = 8

CANCEL_SECONDS = 5.0
"""How long a cancelled attempt may take to end before its executor goes on without it."""

TIMED_OUT = "timed out"
RELEASED = "released"


@final
class _Batch:
    """The leases of one claim, timed until the last of them has started."""

    __slots__ = ("claimed_at", "size", "unstarted")

    def __init__(self, size: int) -> None:
        self.size = size
        self.unstarted = size
        self.claimed_at = time.monotonic()


class ExecutorLoop:
    """Runs the tasks of every eval it is given, until told to stop.

    Args:
        executor_id: its row in the state file.
        kind: which evals are its own.
        in_driver: whether it shares the driver's memory: tasks and results then pass as objects.

    Attributes:
        claim_seconds: of tasks that compute, about how much is claimed at a time.
    """

    def __init__(
        self,
        *,
        executor_id: int,
        kind: str,
        source: TaskSource,
        loader: EvalLoader,
        events: ExecutorEvents,
        run_context: RunContext,
        in_driver: bool,
    ) -> None:
        self.executor_id = executor_id
        self.run_context = run_context
        self.evals: dict[int, OpenEval] = {}
        self.fenced = False
        self.last_progress = time.monotonic()
        self._kind = kind
        self._source = source
        self._loader = loader
        self._events = events
        self._in_driver = in_driver
        self.claim_seconds = CLAIM_SECONDS
        self._wake = asyncio.Event()
        self._finished: list[Completion] = []
        self._chunk = FIRST_CHUNK_ALONE if in_driver else FIRST_CHUNK_IN_POOL
        self._unstarted = 0
        self._running = 0
        self._suspects: dict[int, int] = {}
        self._limits: dict[int, int | None] = {}
        self._peers = 1
        self._next_due: float | None = None
        self._more = True
        self._stopping = False
        self._last_exchange = 0.0
        self._hosts: dict[int, asyncio.Task[None]] = {}
        self._opening: set[int] = set()

    # --- what its owner calls

    @property
    def in_flight(self) -> int:
        return self._running

    def wake(self) -> None:
        """Something may have changed in the state file: look at once."""
        self._more = True
        self._wake.set()

    def stop(self, *, release: bool) -> None:
        """Claim nothing more and end when the attempts have; `release` gives them back at once."""
        self._stopping = True
        if release:
            for open_eval in self.evals.values():
                self._release(open_eval)
        self._wake.set()

    def slowest(self, n: int) -> list[Attempt]:
        """The `n` attempts that have been running longest, longest first."""
        attempts = [a for e in self.evals.values() for a in list(e.attempts.values())[:n]]
        return sorted(attempts, key=lambda a: -a.seconds)[:n]

    async def run(self) -> None:
        """Run until stopped (or fenced) and all attempts are over; then leave every context."""
        try:
            with collected_rarely():
                while not self._over():
                    await self._wait()
                    await self._exchange()
        finally:
            await self._leave(list(self.evals))

    # --- waiting

    def _over(self) -> bool:
        return self.fenced or (self._stopping and not self._running and not self._finished)

    async def _wait(self) -> None:
        """Until there is something to commit or to claim."""
        if self._finished:
            since = time.monotonic() - self._last_exchange
            if self._running and since < COMMIT_WINDOW and len(self._finished) < LARGEST_CHUNK:
                await asyncio.sleep(COMMIT_WINDOW - since)
            return
        if self._more and self._want() > 0:
            return
        self._wake.clear()
        delay = POLL_SECONDS if self._next_due is None else min(self._next_due, POLL_SECONDS)
        timer = asyncio.get_running_loop().call_later(delay, self.wake)
        try:
            await self._wake.wait()
        finally:
            timer.cancel()

    def _want(self) -> int:
        """How many tasks to claim now: one chunk ahead of those that have started, no more."""
        if self._stopping or self._unstarted > self._chunk:
            return 0
        if not self._in_driver and self._peers > 1 and None not in self._limits.values():
            # An executor's part of the limit, so that those still starting find work too.
            part = sum(-(-limit // self._peers) for limit in self._limits.values() if limit)
            return max(0, min(self._chunk, part - self._running))
        return self._chunk

    # --- one transaction

    async def _exchange(self) -> None:
        completions, self._finished = self._finished, []
        want = self._want()
        request = ExchangeRequest(
            executor_id=self.executor_id,
            completions=completions,
            want=want,
            ready_evals=[e.eval_id for e in self.evals.values() if e.ready],
            pool=self._kind,
            with_payload=not self._in_driver,
            in_flight=self._running,
            losses=max(self._suspects.values(), default=0),
        )
        self._more = False
        reply = await self._source.exchange(request)
        self._last_exchange = time.monotonic()
        self._apply(reply, completions, want)

    def _apply(self, reply: ExchangeReply, completions: Sequence[Completion], want: int) -> None:
        if reply.fenced:
            self.fenced = True
            for open_eval in self.evals.values():
                self._release(open_eval)
            return
        self._limits, self._peers, self._next_due = reply.running, reply.peers, reply.next_due
        if completions:
            self.last_progress = self._last_exchange
            kept = [c for c in completions if c.task_id not in reply.rejected]
            self._events.committed(kept)
        for eval_id in reply.running:
            known = eval_id in self.evals or eval_id in self._opening
            if not known and not self._stopping and self._loader.wants(eval_id):
                self._open(eval_id)
        for eval_id in [e for e in self.evals if e not in reply.running]:
            self._end_eval(self.evals[eval_id])
        if reply.leases:
            # A claim that was filled, or nearly, says that there is more.
            self._more = self._more or 2 * len(reply.leases) >= want
            batch = _Batch(len(reply.leases))
            for lease in reply.leases:
                self._start(lease, batch)
        if len(reply.leases) < want:
            self._events.idle()

    # --- evals

    def _open(self, eval_id: int) -> None:
        self._opening.add(eval_id)
        self._hosts[eval_id] = asyncio.get_running_loop().create_task(
            self._host(eval_id), name=f"eval {eval_id}", context=self._loader.context(eval_id)
        )

    async def _host(self, eval_id: int) -> None:
        """Load an eval, hold its context open, and report what goes wrong with either."""
        opened: OpenEval | None = None
        try:
            handle = await self._loader.load(eval_id)
            opened = self.evals[eval_id] = OpenEval(eval_id, handle, self.run_context)
            self._opening.discard(eval_id)
            await opened.serve(self.wake)
        except Exception as error:  # noqa: BLE001  it ends the eval, and `run` raises it
            self._opening.discard(eval_id)
            if opened is not None:
                opened.ready = False
                if not self._in_driver:
                    opened.report_leaving(error)
            error.add_note(f"in the context of eval {opened.name!r}" if opened else "loading it")
            await self._source.fail_eval(eval_id, dump_failure(error))
            self._events.eval_failed(eval_id, error)
            self.wake()

    def _end_eval(self, open_eval: OpenEval) -> None:
        """The eval is over elsewhere: give its attempts back, then leave its context."""
        open_eval.ready = False
        if open_eval.attempts:
            self._release(open_eval)
        else:
            open_eval.close()
            host = self._hosts[open_eval.eval_id]
            if host.done():
                del self._hosts[open_eval.eval_id], self.evals[open_eval.eval_id]

    async def close_eval(self, eval_id: int) -> None:
        """Leave an eval's context, once its attempts are over."""
        await self._leave([eval_id])

    async def _leave(self, eval_ids: Sequence[int]) -> None:
        hosts = []
        for eval_id in eval_ids:
            open_eval = self.evals.pop(eval_id, None)
            if open_eval is not None:
                open_eval.close()
            host = self._hosts.pop(eval_id, None)
            if host is not None:
                hosts.append(host)
        if hosts:
            await asyncio.wait(hosts)

    def _release(self, open_eval: OpenEval) -> None:
        for attempt in list(open_eval.attempts.values()):
            if attempt.verdict is not None:
                continue
            attempt.cancel(RELEASED)
            if attempt.started:
                self._abandon_later(attempt)
            else:  # cancelled before its first step: `_evaluate` will never run
                self._unstarted -= 1
                lease = attempt.lease
                self._finish(attempt, Completion(lease.task_id, lease.eval_id, "released"))

    # --- attempts: the hot path

    def _start(self, lease: Lease, batch: _Batch) -> None:
        open_eval = self.evals[lease.eval_id]
        attempt = Attempt(lease, open_eval, open_eval.handle.task(lease))
        open_eval.attempts[lease.task_id] = attempt
        self._unstarted += 1
        self._running += 1
        if lease.losses:
            self._suspects[lease.task_id] = lease.losses
        attempt.runner = asyncio.get_running_loop().create_task(
            self._evaluate(attempt, batch), context=open_eval.context.copy()
        )

    async def _evaluate(self, attempt: Attempt, batch: _Batch) -> None:
        handle = attempt.open_eval.handle
        task = attempt.task
        attempt.started = time.monotonic()
        self._unstarted -= 1
        batch.unstarted -= 1
        if not batch.unstarted:
            seconds = attempt.started - batch.claimed_at
            self._chunk = next_chunk(
                batch.size, seconds=seconds, target=self.claim_seconds, largest=LARGEST_CHUNK
            )
            self._wake.set()  # there may be room for the next chunk
        recorder = attempt.new_recorder()
        meter = UsageMeter()
        current_recorder.set(recorder)
        current_usage_meter.set(meter)
        if handle.runner.task_timeout is not None:
            self._arm(attempt, handle.runner.task_timeout)
        error: BaseException | None = None
        result: Any = None
        try:
            result = await handle.eval.evaluate(task)
        except (KeyboardInterrupt, GeneratorExit):
            raise
        except BaseException as raised:  # noqa: BLE001  becomes the attempt's outcome
            error = raised
        if attempt.lease.task_id not in attempt.open_eval.attempts:
            return  # abandoned: its outcome has been written already
        completion = self._outcome(attempt, result, error)
        completion.usage = meter.usage
        completion.events = attempt.events_of(recorder, completion)
        self._finish(attempt, completion)

    def _outcome(self, attempt: Attempt, result: Any, error: BaseException | None) -> Completion:
        task_id, eval_id = attempt.lease.task_id, attempt.open_eval.eval_id
        if error is None:
            try:
                value = pickle.dumps(result, pickle.HIGHEST_PROTOCOL)
            except Exception:  # noqa: BLE001  tried again below, by value, with a better error
                try:
                    value = pickling.dumps(result, what=f"the result of task {attempt.name!r}")
                except NotPicklableError as not_picklable:
                    return self._fatal(attempt, not_picklable)
            live = (attempt.task, result) if self._in_driver else None
            return Completion(task_id, eval_id, "done", value, live=live)
        if attempt.verdict == TIMED_OUT:
            return self._system_error(attempt, self._timeout_error(attempt))
        if attempt.verdict == RELEASED:
            return Completion(task_id, eval_id, "released")
        if isinstance(error, RolloutSystemError):
            return self._system_error(attempt, error)
        return self._fatal(attempt, error)

    def _system_error(self, attempt: Attempt, error: RolloutSystemError) -> Completion:
        runner = attempt.open_eval.handle.runner
        delay = retry_delay(
            attempt.lease.retry_idx,
            max_retries=runner.max_retries if error.retryable else 0,
            backoff=runner.retry_backoff,
            rng=attempt.open_eval.rng,
        )
        return Completion(
            attempt.lease.task_id,
            attempt.open_eval.eval_id,
            "error",
            dump_failure(error),
            retry_delay=delay,
            error=error,
            live=(attempt.task, error) if self._in_driver else None,
        )

    def _fatal(self, attempt: Attempt, error: BaseException) -> Completion:
        error.add_note(
            f"while eval {attempt.open_eval.name!r} ran task {attempt.task.question_id!r}, "
            f"attempt {attempt.task.attempt_id}, retry {attempt.lease.retry_idx}, "
            f"on executor {self.run_context.executor!r}"
        )
        eval_id = attempt.open_eval.eval_id
        self._events.eval_failed(eval_id, error)
        return Completion(attempt.lease.task_id, eval_id, "fatal", dump_failure(error))

    def _finish(self, attempt: Attempt, completion: Completion) -> None:
        if attempt.deadline is not None:
            attempt.deadline.cancel()
        del attempt.open_eval.attempts[attempt.lease.task_id]
        self._running -= 1
        self._suspects.pop(attempt.lease.task_id, None)
        self._finished.append(completion)
        self._wake.set()

    # --- deadlines

    def _arm(self, attempt: Attempt, seconds: float) -> None:
        def expire() -> None:
            if attempt.verdict is None:
                attempt.cancel(TIMED_OUT)
                self._abandon_later(attempt)

        attempt.deadline = asyncio.get_running_loop().call_later(seconds, expire)

    def _timeout_error(self, attempt: Attempt) -> TaskTimeoutError:
        limit = attempt.open_eval.handle.runner.task_timeout
        return TaskTimeoutError(f"task {attempt.name!r} ran longer than task_timeout={limit:g} s")

    def _abandon_later(self, attempt: Attempt) -> None:
        """A cancelled attempt that does not end is left behind: deadlines always fire."""

        def abandon() -> None:
            if attempt.open_eval.attempts.get(attempt.lease.task_id) is not attempt:
                return
            lease = attempt.lease
            if attempt.verdict == TIMED_OUT:
                completion = self._system_error(attempt, self._timeout_error(attempt))
            else:
                completion = Completion(lease.task_id, lease.eval_id, "released")
            self._finish(attempt, completion)

        if attempt.deadline is not None:
            attempt.deadline.cancel()
        attempt.deadline = asyncio.get_running_loop().call_later(CANCEL_SECONDS, abandon)
