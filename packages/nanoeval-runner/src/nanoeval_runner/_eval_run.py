"""One eval in the process that called `run`: its tasks, its results, and when it is over.

The story (`_run.py`) starts and stops it; the outbox alone adds results and what they cost.
"""

from __future__ import annotations

import asyncio
import contextvars
import dataclasses
import functools
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from nanoeval_core.errors import RolloutSystemError
from nanoeval_core.recording import EventEncoder
from nanoeval_core.spec import EvalSpec
from nanoeval_core.task import Task
from nanoeval_core.usage import Usage

from nanoeval_runner._display.tally import Tally
from nanoeval_runner._payloads import load_task
from nanoeval_runner._queue.rows import EvalRow, Lease, StoredTask
from nanoeval_runner.budget import SharedBudget, reached

TaskResult = tuple[Any, Any]
Identity = tuple[str, int]

MOST_KINDS = 200
MOST_WORDS = 300
MOST_ERRORS = 16
"""A wrong key fails every task in flight at once: some of those errors say it all."""


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is to run, known before anything does.

    Attributes:
        spec: a copy that the caller's later changes do not reach.
        by_value: pickles hold classes that other processes could not import.
        row: the earlier run that is gone on with, as the state file has it.
        run_id: the recorder's; that of the earlier run, if there was one.
        model: the one that is measured, as far as the runner or the arguments name it.
    """

    spec: EvalSpec
    name: str
    by_value: bool
    row: EvalRow | None
    run_id: str
    run_set_id: str
    model: str | None


class EvalRun:
    """One eval of a run set.

    Attributes:
        tasks: by the id of their row, as they were queued; retries once they were asked for.
        results: `(task, result)` of every task that is over; a result may be a system error.
        is_running: its tasks are queued, and it is not summed up yet: a signal lets those in
            flight finish.
        finished: set when every task has a result, or the eval is to stop or cannot go on.
        errors: what ended the eval, if anything did.
        lost: how many tasks each system error cost, in its own words.
        stopped_by: why it stops early, in words, if it does.
        total: how many tasks it has.
        limit: how many may be in flight, None for any number.
        in_flight: how many of them are leased, over all executors.
        usage: what its attempts have spent, in earlier runs as well.
    """

    def __init__(
        self, plan: Plan, eval_id: int, encoder: EventEncoder, shared_budget: SharedBudget | None
    ) -> None:
        spec, row = plan.spec, plan.row
        self.plan = plan
        self.spec = spec
        self.eval_id = eval_id
        self.pool = spec.runner.executor_name
        self.name = plan.name
        self.encoder = encoder
        self.context = contextvars.copy_context()
        self.tasks: dict[int, Task] = {}
        self.results: list[TaskResult] = []
        self.is_running = False
        self.finished = asyncio.Event()
        self.errors: list[BaseException] = []
        self.stopped_by = ""
        self.over_budget = False
        self.total = 0
        self.limit = spec.runner.concurrency
        self.in_flight = 0
        self.retries = row.retries if row is not None else 0
        self.usage = row.usage if row is not None else Usage()
        self.lost: Counter[str] = Counter()
        self._started_at = time.monotonic()
        self._elapsed_before = row.elapsed if row is not None else 0.0
        self._shared_budget = shared_budget

    @functools.cached_property
    def tally(self) -> Tally:
        """The score so far, once somebody asks for them."""
        return Tally(self.spec.eval)

    # --- tasks

    def take(self, rows: Iterable[StoredTask], asked: dict[Identity, Task] | None = None) -> None:
        """Take tasks from their rows, as they are to be run or as executors have run them.

        Args:
            rows: those of an earlier run, or retries.
            asked: the tasks as they are now, by identity. None takes them from the file.
        """
        self.tasks.update((row.task_id, task_of_row(row, asked)) for row in rows)

    def task(self, lease: Lease) -> Task:
        """Return the task of a lease, as it was queued."""
        task = self.tasks.get(lease.task_id)
        if task is None:
            assert lease.payload is not None  # noqa: S101  the queue sends it for retries
            task = self.tasks[lease.task_id] = load_task(lease.payload, lease.retry_idx)
        return task

    # --- results

    async def sum_up(self) -> dict[str, Any]:
        """Sum up the results so far, in the text order of their ids: q10 is before q2."""

        def text_order(result: TaskResult) -> str:
            task = result[0]
            return f"{task.question_id}.{task.attempt_id}.{task.retry_idx}"

        return dict(await self.spec.eval.get_full_summary(sorted(self.results, key=text_order)))

    @property
    def remaining(self) -> int:
        return self.total - len(self.results)

    @property
    def elapsed(self) -> float:
        """Seconds spent on this eval, earlier runs of it included."""
        return self._elapsed_before + time.monotonic() - self._started_at

    def add(self, fresh: Sequence[TaskResult]) -> None:
        """Add final results; with the last of them the eval is over."""
        self.results += fresh
        for _, result in fresh:
            if isinstance(result, RolloutSystemError):
                self.lost[_words(result, self.lost)] += 1
        if self.remaining <= 0 and self.is_running:
            self.finished.set()

    def check_budget(self) -> None:
        """Stop, resumably, once the budget is spent: its own, or the one it shares."""
        runner = self.spec.runner
        reason = reached(self.usage, runner.budget_tokens, runner.budget_cost)
        if reason is not None:
            self.stop(reason, over_budget=True)
        if self._shared_budget is not None:
            self._shared_budget.note(self, self.usage)

    # --- its end

    def stop(self, reason: str, *, over_budget: bool = False) -> None:
        """Start no more tasks; those in flight may finish."""
        self.stopped_by = self.stopped_by or reason
        self.over_budget = self.over_budget or over_budget
        self.finished.set()

    def fail(self, error: BaseException) -> None:
        """End the eval with `error`, which `run` raises."""
        if len(self.errors) < MOST_ERRORS:
            self.errors.append(error)
        self.finished.set()


def _words(error: BaseException, known: Mapping[str, int]) -> str:
    """Return an error in its own words, in a line; its type alone once there are many kinds."""
    kind, text = type(error).__name__, " ".join(str(error).split())
    words = f"{kind}: {text[:MOST_WORDS]}" if text else kind
    return words if words in known or len(known) < MOST_KINDS else kind


def task_of_row(row: StoredTask, asked: dict[Identity, Task] | None) -> Task:
    """Return the task of a row: as it is asked for now, or as the row has it."""
    if asked is None:
        assert row.payload is not None  # noqa: S101  read with the row when it is needed
        return load_task(row.payload, row.retry_idx)
    task = asked[row.identity]
    return task.model_copy(update={"retry_idx": row.retry_idx}) if row.retry_idx else task
