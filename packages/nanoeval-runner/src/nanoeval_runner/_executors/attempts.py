"""One attempt at one task, as its executor sees it."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import time
from collections.abc import Coroutine, Generator
from typing import TYPE_CHECKING, Any

from nanoeval_core.recording import AttemptRecorder, DummyRecorder
from nanoeval_core.task import Task

from nanoeval_runner._queue.rows import Completion, Lease

if TYPE_CHECKING:
    from nanoeval_runner._executors.open_evals import OpenEval


AWAITING = "awaiting "
_STDLIB = os.path.dirname(asyncio.__file__)
"""Where asyncio is: that a task sleeps or waits for a lock is seen from who calls it."""


@dataclasses.dataclass(slots=True, eq=False)
class Attempt:
    """A lease being worked on.

    Attributes:
        started: when `evaluate` was entered, in monotonic seconds; 0.0 before that.
        verdict: why the attempt was cancelled, if it was: it outlived its deadline, or its
            task goes back to the queue.
    """

    lease: Lease
    open_eval: OpenEval
    task: Task
    started: float = 0.0
    verdict: str | None = None
    runner: asyncio.Task[None] | None = None
    deadline: asyncio.TimerHandle | None = None

    @property
    def name(self) -> str:
        """`eval/question.attempt`, with the retry when there was one."""
        retry = f" (retry {self.lease.retry_idx})" if self.lease.retry_idx else ""
        return f"{self.open_eval.name}/{self.task.name}{retry}"

    @property
    def group_id(self) -> str:
        """`attempt_id.retry_idx`, under which its events are recorded."""
        return f"{self.task.attempt_id}.{self.task.retry_idx}"

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.started if self.started else 0.0

    def cancel(self, verdict: str) -> None:
        self.verdict = verdict
        if self.runner is not None:
            self.runner.cancel()

    def new_recorder(self) -> AttemptRecorder:
        """What the attempt records with; one that keeps nothing where the real one fails."""
        try:
            return self.open_eval.handle.encoder.attempt(self.task.question_id, self.group_id)
        except Exception as error:  # noqa: BLE001  reported there; it must not cost the result
            self.open_eval.recorder_failed(error)
            return DummyRecorder().encoder().attempt(self.task.question_id, self.group_id)

    def events_of(self, recorder: AttemptRecorder, completion: Completion) -> bytes:
        """What the attempt recorded, as it is to be committed with `completion`."""
        if completion.outcome not in ("done", "error"):
            return b""
        try:
            if completion.error is not None:
                recorder.record_error(str(completion.error), completion.error)
            return recorder.take(completed=completion.outcome == "done")
        except Exception as error:  # noqa: BLE001  reported there; it must not cost the result
            self.open_eval.recorder_failed(error)
            return b""

    def frames(self) -> list[str]:
        """What it awaits, outermost first."""
        return awaiting(self.runner.get_coro()) if self.runner is not None else []

    def where(self) -> str:
        """The innermost of the user's frames: where the attempt is."""
        frames = [frame for frame in self.frames() if not frame.startswith(AWAITING)]
        users = [frame for frame in frames if f"({_STDLIB}" not in frame]
        return next(reversed(users or frames), "")

    def describe(self) -> str:
        """How long it has been running and what it awaits: one line and one per frame."""
        return "\n    ".join(
            [f"{self.name}: running for {self.seconds:.1f} s", *self.frames()[-6:]]
        )


def awaiting(coroutine: Coroutine[Any, Any, Any] | Generator[Any, Any, Any] | None) -> list[str]:
    """The chain of frames a suspended coroutine waits in, outermost first."""
    frames = []
    waiting: Any = coroutine
    while waiting is not None:
        frame = getattr(waiting, "cr_frame", None) or getattr(waiting, "gi_frame", None)
        if frame is not None:
            code = frame.f_code
            frames.append(f"{code.co_qualname} ({code.co_filename}:{frame.f_lineno})")
        waiting = getattr(waiting, "cr_await", None) or getattr(waiting, "gi_yieldfrom", None)
        is_frame = hasattr(waiting, "cr_await") or hasattr(waiting, "gi_yieldfrom")
        if waiting is not None and not is_frame:
            frames.append(f"{AWAITING}{waiting!r}"[:200])
            break
    return frames
