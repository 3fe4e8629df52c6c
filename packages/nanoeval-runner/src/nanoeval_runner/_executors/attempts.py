"""An eval in one executor, its context entered, and the attempts at its tasks."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import dataclasses
import enum
import gc
import logging
import os
import pickle
import random
import time
from collections.abc import Callable
from contextvars import Context
from typing import Any

from nanoeval_core import pickling
from nanoeval_core.errors import RolloutSystemError, TaskTimeoutError
from nanoeval_core.library_config import LibraryConfig, get_library_config
from nanoeval_core.recording import AttemptRecorder, DummyRecorder
from nanoeval_core.recording import recorder as current_recorder
from nanoeval_core.run_context import RunContext, current_run_context
from nanoeval_core.task import Task
from nanoeval_core.usage import Usage, current_usage_meter

from nanoeval_runner._executors.source import LoadedEval
from nanoeval_runner._failures import annotate, dump_failure, presentable, text_of
from nanoeval_runner._garbage import collected_rarely
from nanoeval_runner._payloads import PLAIN
from nanoeval_runner._queue.rows import Completion, Lease
from nanoeval_runner._queue.states import retry_delay

log = logging.getLogger("nanoeval.runner")

AWAITING = "awaiting "
_STDLIB = os.path.dirname(asyncio.__file__)
"""Where asyncio is: that a task sleeps or waits for a lock is seen from who calls it."""


class Cut(enum.Enum):
    """Why the runner cancelled an attempt."""

    TIMED_OUT = "it outlived RunnerArgs.task_timeout"
    REQUEUED = "its task goes back to the queue"


class OpenEval:
    """Enters the eval's context in an asyncio task of its own, and leaves it in the same one.

    Attributes:
        doing: `entering` or `leaving` its context; empty while tasks may be claimed.
        since: when it began that, in monotonic seconds.
        attempts: what runs now, by task id.
        closing: set when its context is to be left.
        context: what attempts run in a copy of: they see context variables set by `_context`.
        recorder: of what is recorded outside of attempts, in `_context`.
    """

    def __init__(
        self, eval_id: int, loaded: LoadedEval, run_context: RunContext, *, in_driver: bool
    ) -> None:
        self.eval_id = eval_id
        self.loaded = loaded
        self.in_driver = in_driver
        # Looked up once: a field of a chz object is a call.
        self.task = loaded.task
        self.evaluate = loaded.spec.eval.evaluate
        self.task_timeout = loaded.spec.runner.task_timeout
        self.new_recorder = loaded.encoder.attempt
        self.name = loaded.spec.eval.get_name()
        self.doing = "entering"
        self.since = time.monotonic()
        self.attempts: dict[int, Attempt] = {}
        self.rng = random.Random(f"{loaded.spec.runner.seed}/{run_context.executor}")
        self.context = contextvars.copy_context()
        self.records_completion = loaded.encoder.records_completion
        hooks = get_library_config()
        self.recorder_context = (
            None
            if type(hooks).set_recorder_context is LibraryConfig.set_recorder_context
            else hooks.set_recorder_context
        )
        self.run_context = run_context
        self.closing = asyncio.Event()
        self._recorder_failed = False
        self.recorder = loaded.encoder.attempt(None, None)

    async def serve(self, on_ready: Callable[[], None]) -> None:
        """Hold the context open until `closing` is set; call `on_ready` once it is.

        Raises:
            BaseException: whatever entering or leaving the context raised.
        """
        current_run_context.set(self.run_context)
        if not self.in_driver:
            current_recorder.set(self.recorder)
        threshold = self.loaded.spec.runner.gc_threshold
        with contextlib.nullcontext() if threshold is None else collected_rarely(threshold):
            async with self.loaded.spec.eval:
                self.context = contextvars.copy_context()
                self.doing = ""
                on_ready()
                await self.closing.wait()
                self.doing, self.since = "leaving", time.monotonic()

    def recorder_failed(self, error: Exception) -> None:
        """Say so, the first time: results are worth more than their record."""
        if not self._recorder_failed:
            self._recorder_failed = True
            log.error(
                "the recorder of eval %r failed in an attempt (%s: %s). The run goes on and keeps "
                "every result; what such attempts recorded is lost",
                self.name,
                type(error).__name__,
                error,
            )


@dataclasses.dataclass(slots=True, eq=False)
class Attempt:
    """A lease being worked on.

    Attributes:
        queued: the task as it was queued: the summary gets it, whatever `evaluate` does to its own.
        group_id: under which its events are recorded.
        started: when `evaluate` was entered, in monotonic seconds; 0.0 before that.
        cut: why the runner cancelled it, if it did.
        usage: what it has spent; None while that is nothing.
    """

    lease: Lease
    open_eval: OpenEval
    queued: Task
    group_id: str
    started: float = 0.0
    cut: Cut | None = None
    runner: asyncio.Task[None] | None = None
    deadline: asyncio.TimerHandle | None = None
    usage: Usage | None = None

    def add(self, usage: Usage) -> None:
        """Add what a solver reports: an attempt is its own `current_usage_meter`."""
        if self.usage is None:
            self.usage = Usage()
        self.usage += usage

    @property
    def name(self) -> str:
        """`eval/question.attempt`, with the retry when there was one."""
        retry = f" (retry {self.lease.retry_idx})" if self.lease.retry_idx else ""
        return f"{self.open_eval.name}/{self.queued.question_id}.{self.queued.attempt_id}{retry}"

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.started if self.started else 0.0

    def new_recorder(self) -> AttemptRecorder:
        """Return what the attempt records with; one that keeps nothing where the real one fails."""
        ids = self.queued.question_id, self.group_id
        try:
            return self.open_eval.new_recorder(*ids)
        except Exception as error:  # noqa: BLE001  reported there; it must not cost the result
            self.open_eval.recorder_failed(error)
            return DummyRecorder().encoder().attempt(*ids)

    # --- its outcome

    def outcome(
        self, result: Any, error: BaseException | None, recorder: AttemptRecorder
    ) -> Completion:
        """Return what to commit: whatever came out of `evaluate`, there is something."""
        lease, open_eval = self.lease, self.open_eval
        if error is not None:
            completion = self._without_result(error)
        else:
            try:
                if type(result) in PLAIN:
                    value = pickle.dumps(result, pickle.HIGHEST_PROTOCOL)
                else:
                    value = self._pickled(result)
            except BaseException as not_picklable:  # noqa: BLE001  the result's own code may raise it
                completion = self.fatal(not_picklable)
            else:
                live = (self.queued, result) if open_eval.in_driver else None
                # By position: for every attempt.
                completion = Completion(
                    lease.task_id, lease.eval_id, "done", value, b"", 0.0, None, None, live
                )
        completion.usage = self.usage
        is_done = completion.outcome == "done"
        try:
            if is_done:
                if open_eval.records_completion:
                    recorder.record_sample_completed()
            elif completion.error is not None:
                told = completion.error if isinstance(completion.error, Exception) else None
                recorder.record_error(text_of(completion.error), told)
            if completion.outcome != "requeued":
                completion.events = recorder.take(completed=is_done)
                if not open_eval.in_driver:
                    outside = open_eval.recorder.take(completed=True)
                    completion.events = outside + completion.events
        except Exception as failure:  # noqa: BLE001  reported there; it must not cost the result
            open_eval.recorder_failed(failure)
        return completion

    def _without_result(self, error: BaseException) -> Completion:
        """Return what becomes of the task when `evaluate` raised `error`."""
        if self.cut is not None:
            return self.cut_short()
        if isinstance(error, asyncio.CancelledError):
            # Without the task's name: errors of the same words are counted as one.
            why = text_of(error)
            cancelled = RolloutSystemError(
                "cancelled, and not by nanoeval" + (f": {why}" if why else "")
            )
            cancelled.__cause__ = error
            return self.system_error(cancelled)
        error = presentable(error)
        if isinstance(error, RolloutSystemError):
            return self.system_error(error)
        return self.fatal(error)

    def _pickled(self, result: Any) -> bytes:
        """Return `result` as bytes that are known to give it back.

        Raises:
            NotPicklableError: names the task, and the field if one is to blame.
        """
        what = f"the result of task {self.name!r}"
        try:
            value = pickle.dumps(result, pickle.HIGHEST_PROTOCOL)
        except Exception:  # noqa: BLE001  tried again, by value, with an error that names the field
            value = pickling.dumps(result, what=what)
        pickling.check_loadable(value, what=what)
        return value

    def cut_short(self) -> Completion:
        """Return what becomes of a task whose attempt the runner cancelled."""
        if self.cut is Cut.REQUEUED:
            return Completion(self.lease.task_id, self.lease.eval_id, "requeued")
        limit = self.open_eval.task_timeout
        return self.system_error(TaskTimeoutError(f"ran longer than task_timeout={limit:g} s"))

    def system_error(self, error: RolloutSystemError) -> Completion:
        """Retry the task, or make `error` its result after the last retry."""
        runner = self.open_eval.loaded.spec.runner
        delay = retry_delay(
            self.lease.retry_idx,
            max_retries=runner.max_retries if error.retryable else 0,
            backoff=runner.retry_backoff,
            rng=self.open_eval.rng,
        )
        return Completion(
            self.lease.task_id,
            self.lease.eval_id,
            "failed" if delay is None else "retried",
            dump_failure(error),
            retry_delay=delay or 0.0,
            error=error,
            live=(self.queued, error) if self.open_eval.in_driver else None,
        )

    def fatal(self, error: BaseException) -> Completion:
        """End the eval with `error`."""
        error = annotate(
            error,
            f"while eval {self.open_eval.name!r} ran task {self.queued.question_id!r}, "
            f"attempt {self.queued.attempt_id}, retry {self.lease.retry_idx}, "
            f"on executor {self.open_eval.run_context.executor!r}",
        )
        return Completion(
            self.lease.task_id, self.lease.eval_id, "fatal", dump_failure(error), error=error
        )

    # --- where it is

    def frames(self) -> list[str]:
        """Return what it awaits, outermost first."""
        return awaiting(self.runner.get_coro()) if self.runner is not None else []

    def where(self) -> str:
        """Return the innermost of the user's frames: where the attempt is."""
        return innermost(self.frames())

    def describe(self) -> str:
        """Say how long it has been running and what it awaits: one line and one per frame."""
        return "\n    ".join(
            [f"{self.name}: running for {self.seconds:.1f} s", *self.frames()[-6:]]
        )


def begun_in(run_context: RunContext) -> dict[asyncio.Task[Any], Context]:
    """Return the asyncio tasks that evals of an executor began, with their context variables."""
    begun = {}
    for task in asyncio.all_tasks():
        # Since Python 3.12 a task says its context; before, only the garbage collector knows it.
        ask = getattr(task, "get_context", None)
        for held in gc.get_referents(task) if ask is None else (ask(),):
            if isinstance(held, Context) and held.get(current_run_context) is run_context:
                begun[task] = held
    return begun


def where_begun(task: asyncio.Task[Any], context: Context) -> str:
    """Say which asyncio task it is, what began it, and where it is."""
    attempt = context.get(current_usage_meter)
    begun = f"task {attempt.name!r}" if isinstance(attempt, Attempt) else "an eval's context"
    place = innermost(awaiting(task.get_coro())) or "its start"
    return f"asyncio task {task.get_name()!r}, which {begun} began and which is at {place},"


def innermost(frames: list[str]) -> str:
    """Return the innermost of the user's frames among those that `awaiting` gave."""
    frames = [frame for frame in frames if not frame.startswith(AWAITING)]
    users = [frame for frame in frames if f"({_STDLIB}" not in frame]
    return next(reversed(users or frames), "")


_AWAITED = {"cr_frame": "cr_await", "gi_frame": "gi_yieldfrom", "ag_frame": "ag_await"}
"""Attributes of coroutines and generators: their frame, and what they await."""

_STEPS = ("async_generator_asend", "async_generator_athrow", "anext_awaitable")


def awaiting(waiting: Any) -> list[str]:
    """Return the chain of frames a suspended coroutine waits in, outermost first."""
    frames = []
    while waiting is not None:
        if type(waiting).__name__ in _STEPS:  # of an async generator: only gc sees of which
            held = gc.get_referents(waiting)
            waiting = next((r for r in held if _frame_of(r) or type(r).__name__ in _STEPS), None)
        elif name := _frame_of(waiting):
            frame = getattr(waiting, name)
            if frame is not None:
                code = frame.f_code
                frames.append(f"{code.co_qualname} ({code.co_filename}:{frame.f_lineno})")
            waiting = getattr(waiting, _AWAITED[name])
        else:
            frames.append(f"{AWAITING}{waiting!r}"[:200])
            break
    return frames


def _frame_of(waiting: object) -> str:
    return next((name for name in _AWAITED if hasattr(waiting, name)), "")
