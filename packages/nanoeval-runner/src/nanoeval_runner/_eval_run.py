"""One eval in the process that called `run`: its tasks, its results, its record, its end.

The story (`_run.py`) starts and stops it; the outbox alone adds results and what they cost.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import dataclasses
import functools
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from typing import Any

import anyio.to_thread
from nanoeval_core.errors import RolloutSystemError
from nanoeval_core.recording import EventEncoder, TransactionalRecorder
from nanoeval_core.spec import EvalSpec
from nanoeval_core.task import Task
from nanoeval_core.usage import Usage

from nanoeval_runner._display.tally import Tally
from nanoeval_runner._payloads import load_task
from nanoeval_runner._queue import event_log
from nanoeval_runner._queue.paths import shared_dir
from nanoeval_runner._queue.rows import EvalRow, Lease, StoredTask
from nanoeval_runner._queue.store import Store
from nanoeval_runner.budget import SharedBudget, current_budget, reached

log = logging.getLogger("nanoeval.runner")

TaskResult = tuple[Any, Any]
Identity = tuple[str, int]

MOST_KINDS = 200
MOST_WORDS = 300
MOST_ERRORS = 16
"""A wrong key fails every task in flight at once: some of those errors say it all."""

SLOW_WRITE = 0.1
"""Seconds: a record that takes longer to write to is no longer written while results wait."""

COMMITS_A_WRITE = 64
"""How many commits' events are read at a time: what bounds the memory of a slow recorder."""


class RecordWriter:
    """Writes one eval's committed events to its recorder, in order and once each.

    A recorder that fails is reported once and left alone from then on; its events stay in the
    state file, so that resuming the run writes them.

    Attributes:
        direct: events of tasks that run in this process are written in the transaction that
            commits their results. It is set before the first of them, and never again after a
            write that failed or took long: from then on events are logged, and read from there.
        failure: what the recorder raised, None while all is well.
    """

    def __init__(self, store: Store, eval_id: int, recorder: TransactionalRecorder) -> None:
        self._store = store
        self._folder = shared_dir(store.path)
        self._eval_id = eval_id
        self.recorder = recorder
        self._more = False
        self._writing: asyncio.Task[None] | None = None
        self._written = 0
        self._before: str | None = None
        self.direct = False
        self.failure: BaseException | None = None

    @contextlib.asynccontextmanager
    async def opened(self, position: str | None, *, in_driver: bool) -> AsyncIterator[None]:
        """Enter the recorder, raising what that raises; lose nothing to what leaving it raises.

        Args:
            position: where an earlier run stopped; what is logged since is written first.
            in_driver: the eval's tasks run in this process.
        """
        self.recorder.__enter__()
        ending: BaseException | None = None
        try:
            if position is not None:
                with self._guarded():
                    await anyio.to_thread.run_sync(self.recorder.rewind, position)
                while await self._write_some():
                    pass
            self.direct = (
                in_driver
                and self.failure is None
                and getattr(self.recorder, "writes_at_once", False)
            )
            yield
        except BaseException as error:
            ending = error
            raise
        finally:
            if self._writing is not None:  # what is left is written when the run is resumed
                self._writing.cancel()
            try:
                self.recorder.__exit__(type(ending) if ending else None, ending, None)
            except Exception:
                log.exception("the recorder could not be closed; the run's results are kept")

    async def report(self, summary: Mapping[str, Any]) -> None:
        """Have the recorder record a summary, the final one or one before."""
        with self._guarded():
            await anyio.to_thread.run_sync(self.recorder.record_final_report, summary)

    @contextlib.contextmanager
    def _guarded(self) -> Iterator[None]:
        """Call the recorder: what it raises is reported once, and costs no result."""
        try:
            yield
        except Exception as error:  # noqa: BLE001  recorded in `failure` and reported
            if self.failure is None:
                self.failure = error
                log.error(  # noqa: TRY400  its trace helps nobody
                    "the recorder failed (%s: %s). The run goes on and keeps its results and "
                    "events in the state file; resume it once the recorder works again to write "
                    "the rest",
                    type(error).__name__,
                    error,
                )

    # --- in the transaction, on the store's thread

    def write(self, events: list[bytes]) -> str | None:
        """Write `events` and return the position after them; None when they are to be logged."""
        if not self.direct:
            return None
        start = time.perf_counter()
        try:
            before = self.recorder.position()
            self.recorder.write_events(events)
            position = self.recorder.position()
        except Exception:  # noqa: BLE001  they are logged; writing them from there reports it
            self.direct = False
            return None
        self._before = before
        if time.perf_counter() - start > SLOW_WRITE:
            self.direct = False
        return position

    def take_back(self) -> None:
        """Take back what the last `write` wrote: its transaction was not committed."""
        assert self._before is not None  # noqa: S101  it wrote
        with self._guarded():
            self.recorder.rewind(self._before)
        self.direct = self.direct and self.failure is None

    # --- from the log

    def poke(self) -> None:
        """Note that events may have been logged: write them, one look after the other."""
        self._more = True
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write_logged(), name="record")

    async def finish(self) -> None:
        """Write what is left."""
        if not self.direct:
            self.poke()
            assert self._writing is not None  # noqa: S101  poke() started it
            await asyncio.wait([self._writing])

    async def _write_logged(self) -> None:
        while self._more:
            self._more = False
            while await self._write_some():
                pass

    async def _write_some(self) -> bool:
        if self.failure is not None:
            return False
        with self._guarded():
            up_to, chunks = await self._store.call(
                event_log.read_events, self._folder, self._eval_id, self._written, COMMITS_A_WRITE
            )
            if not chunks:
                return False
            await anyio.to_thread.run_sync(
                self.recorder.write_events, chunks, abandon_on_cancel=True
            )
            recorded = self._folder, self._eval_id, self.recorder.position(), up_to
            self._written = up_to
            await self._store.call(event_log.events_recorded, *recorded)
        return self.failure is None


@dataclasses.dataclass(eq=False)
class EvalRun:
    """One eval of a run set.

    Attributes:
        spec: a copy that the caller's later changes do not reach.
        by_value: pickles hold classes that other processes could not import.
        row: the earlier run that is gone on with, as the state file has it.
        run_id: the recorder's; that of the earlier run, if there was one.
        model: the one that is measured, as far as the runner or the arguments name it.
        context: the context variables of the caller, for what runs in this process.
        shared_budget: what it may spend together with others.
        tasks: by the id of their row, as they were queued; retries once they were asked for.
        results: `(task, result)` of every task that is over; a result may be a system error.
        is_running: its tasks are queued, and it is not summed up yet: a signal lets those in
            flight finish.
        finished: set when every task has a result, or the eval is to stop or cannot go on.
        errors: what ended the eval, if anything did.
        lost: how many tasks each system error cost, in its own words.
        over_budget: which budget is spent, in words, if one is.
        total: how many tasks it has.
        limit: how many may be in flight, None for any number.
        in_flight: how many of them are leased, over all executors.
        usage: what its attempts have spent, in earlier runs as well.
    """

    spec: EvalSpec
    name: str
    eval_id: int
    run_id: str
    run_set_id: str
    row: EvalRow | None
    model: str | None
    by_value: bool
    record: RecordWriter
    encoder: EventEncoder
    context: contextvars.Context = dataclasses.field(default_factory=contextvars.copy_context)
    shared_budget: SharedBudget | None = dataclasses.field(default_factory=current_budget.get)
    tasks: dict[int, Task] = dataclasses.field(default_factory=dict)
    results: list[TaskResult] = dataclasses.field(default_factory=list)
    is_running: bool = False
    finished: asyncio.Event = dataclasses.field(default_factory=asyncio.Event)
    errors: list[BaseException] = dataclasses.field(default_factory=list)
    lost: Counter[str] = dataclasses.field(default_factory=Counter)
    over_budget: str = ""
    total: int = 0
    in_flight: int = 0

    def __post_init__(self) -> None:
        row = self.row
        self.pool = self.spec.runner.executor_name
        self.limit = self.spec.runner.concurrency
        self.retries = row.retries if row is not None else 0
        self.usage = row.usage if row is not None else Usage()
        self._elapsed_before = row.elapsed if row is not None else 0.0
        self._started_at = time.monotonic()

    @functools.cached_property
    def tally(self) -> Tally:
        """The score so far, once somebody asks for it."""
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
        in_order = sorted(
            self.results, key=lambda r: f"{r[0].question_id}.{r[0].attempt_id}.{r[0].retry_idx}"
        )
        return dict(await self.spec.eval.get_full_summary(in_order))

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
            self.stop(over_budget=reason)
        if self.shared_budget is not None:
            self.shared_budget.note(self.stop, self.usage)

    # --- its end

    def stop(self, over_budget: str = "") -> None:
        """Start no more tasks; those in flight may finish."""
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
