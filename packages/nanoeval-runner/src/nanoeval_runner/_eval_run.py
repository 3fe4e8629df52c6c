"""The driver's side of one eval: its tasks, its results as they come in, and when it is over."""

from __future__ import annotations

import asyncio
import bisect
import contextvars
import enum
import time
from collections.abc import Callable, Sequence
from typing import Any

from nanoeval_core.errors import RolloutSystemError
from nanoeval_core.eval import Eval
from nanoeval_core.recording import EventEncoder
from nanoeval_core.spec import EvalSpec, RunnerArgs
from nanoeval_core.task import Task

from nanoeval_runner._payloads import load_result, load_task
from nanoeval_runner._queue.rows import Completion, Lease, ResultBatch, StoredTask

Result = tuple[Any, Any]
Identity = tuple[str, int]


MOST_ERRORS = 16
"""A wrong key fails every task in flight at once: some of those errors say it all."""


class Phase(enum.Enum):
    """What the driver is doing for an eval: what decides how a signal is answered."""

    LOADING = "loading"
    RUNNING = "running"
    SUMMING_UP = "summing up"
    OVER = "over"


class EvalRun:
    """One eval of a run set, in the process that called `run` for it. An `EvalHandle` too.

    Attributes:
        results: `(task, result)` of every task that is over; a result may be a system error.
        over: set when every task has a result, or the eval cannot go on.
        errors: what ended the eval, if anything did.
        over_budget: which budget was reached, in words, if one was.
        on_results: called with the results of each commit, after they were added.
    """

    def __init__(self, spec: EvalSpec, eval_id: int, kind: str, encoder: EventEncoder) -> None:
        self.spec = spec
        self.eval_id = eval_id
        self.kind = kind
        self.name = spec.eval.get_name()
        self.phase = Phase.LOADING
        self.context = contextvars.copy_context()
        self.results: list[Result] = []
        self.over = asyncio.Event()
        self.errors: list[BaseException] = []
        self.interrupted = False
        self.over_budget: str | None = None
        self.total = 0
        self.retries = 0
        self.system_errors = 0
        self.started_at = time.monotonic()
        self.elapsed_before = 0.0
        self.on_results: Callable[[Sequence[Result]], None] = lambda results: None
        self.on_events: Callable[[], None] = lambda: None
        self._encoder = encoder
        self._tasks: dict[int, Task] = {}
        self._segments: list[Sequence[Task]] = []
        self._firsts: list[int] = []

    # --- EvalHandle

    @property
    def eval(self) -> Eval[Any, Any]:
        return self.spec.eval

    @property
    def runner(self) -> RunnerArgs:
        return self.spec.runner

    @property
    def encoder(self) -> EventEncoder:
        return self._encoder

    def task(self, lease: Lease) -> Task:
        known = self._known(lease.task_id)
        if known is None:
            assert lease.payload is not None  # noqa: S101  the queue sends it for retries
            known = load_task(lease.payload, lease.retry_idx)
            self._tasks[lease.task_id] = known
        return known

    # --- tasks

    def queued(self, tasks: Sequence[Task], first_id: int) -> None:
        """`tasks` are in the state file, with consecutive ids above all earlier ones."""
        self._segments.append(tasks)
        self._firsts.append(first_id)

    def resumed(self, queued: Sequence[StoredTask], asked: dict[Identity, Task] | None) -> None:
        """These rows of an earlier run are to be run now.

        Args:
            asked: the tasks as they are now, by identity. None takes them from the file.
        """
        for row in queued:
            self._tasks[row.task_id] = _task_of_row(row, asked)

    def already_done(
        self, rows: Sequence[StoredTask], asked: dict[Identity, Task] | None
    ) -> set[Identity]:
        """Take over final results of an earlier run; those no longer asked for are left out.

        Returns:
            the identities of all of `rows`.
        """
        fresh = []
        for row in rows:
            if row.task_id not in self._tasks and (asked is None or row.identity in asked):
                assert row.value is not None  # noqa: S101  final rows have one
                fresh.append((_task_of_row(row, asked), load_result(row.value)))
        self._add(fresh)
        return {row.identity for row in rows}

    def _known(self, task_id: int) -> Task | None:
        segment = bisect.bisect_right(self._firsts, task_id) - 1
        if segment >= 0:
            index = task_id - self._firsts[segment]
            if index < len(self._segments[segment]):
                return self._segments[segment][index]
        return self._tasks.get(task_id)

    # --- results

    @property
    def remaining(self) -> int:
        return self.total - len(self.results)

    @property
    def elapsed(self) -> float:
        """Seconds spent on this eval, earlier runs of it included."""
        return self.elapsed_before + time.monotonic() - self.started_at

    def committed(self, completions: Sequence[Completion]) -> None:
        """Completions of the executor in this process are in the state file."""
        events = False
        fresh = []
        for completion in completions:
            events = events or bool(completion.events)
            if completion.outcome == "error" and completion.retry_delay is not None:
                self.retries += 1
            elif completion.live is not None and completion.is_final:
                fresh.append(completion.live)
        if events:
            self.on_events()
        self._add(fresh)

    def read(self, batch: ResultBatch) -> None:
        """Results that executors elsewhere have committed."""
        self.on_events()
        fresh = []
        for row in batch.results:
            assert row.value is not None  # noqa: S101  results have one
            task = self._known(row.task_id) or _task_of_row(row, None)
            fresh.append((task, load_result(row.value)))
        self._add(fresh)

    def _add(self, fresh: Sequence[Result]) -> None:
        if fresh:
            self.results += fresh
            self.system_errors += sum(isinstance(r, RolloutSystemError) for _, r in fresh)
            self.on_results(fresh)
        if self.remaining <= 0 and self.phase is Phase.RUNNING:
            self.over.set()

    def fail(self, error: BaseException) -> None:
        """The eval cannot go on; `run` will raise `error`."""
        if len(self.errors) < MOST_ERRORS:
            self.errors.append(error)
        self.over.set()


def _task_of_row(row: StoredTask, asked: dict[Identity, Task] | None) -> Task:
    if asked is None:
        assert row.payload is not None  # noqa: S101  read with the row when it is needed
        return load_task(row.payload, row.retry_idx)
    task = asked[row.identity]
    return task.model_copy(update={"retry_idx": row.retry_idx}) if row.retry_idx else task
