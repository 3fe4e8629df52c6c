"""Where a committed batch goes: to the record first, then to the totals, then to those who wait."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import contextvars
import dataclasses
import itertools
import logging
import operator
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Any

import anyio.to_thread
from nanoeval_core.executors import IN_PROCESS
from nanoeval_core.recording import TransactionalRecorder

from nanoeval_runner._eval_run import EvalRun
from nanoeval_runner._executors.source import LoadedEval, TaskSource
from nanoeval_runner._failures import dump_failure, load_failure
from nanoeval_runner._payloads import load_result
from nanoeval_runner._queue import event_log, transactions
from nanoeval_runner._queue.paths import shared_dir
from nanoeval_runner._queue.rows import (
    FINAL,
    Completion,
    ExchangeReply,
    ExchangeRequest,
    Lease,
    ResultBatch,
)
from nanoeval_runner._queue.states import EvalState
from nanoeval_runner._queue.store import Store

log = logging.getLogger("nanoeval.runner")

READ_BATCHES = 64

SLOW_WRITE = 0.1
"""Seconds: a record that takes longer to write to is no longer written while results wait."""

_eval_id = operator.attrgetter("eval_id")

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
            position = self.recorder.position()
        if self.failure is not None:
            return False
        self._written = up_to
        await self._store.call(
            event_log.events_recorded, self._folder, self._eval_id, position, up_to
        )
        return True


class Outbox:
    """Tells the runs of a run set what was committed, by the executor here and by those elsewhere.

    Attributes:
        runs: the evals being run now, by id.
        records: their records' writers.
        changed: set, and replaced, whenever something was committed.
        written: the records that the transaction going on has written to.
    """

    def __init__(self, store: Store) -> None:
        self.runs: dict[int, EvalRun] = {}
        self.records: dict[int, RecordWriter] = {}
        self.changed = asyncio.Event()
        self._store = store
        self.written: list[RecordWriter] = []
        self._seq = 0
        self._collecting = asyncio.Lock()

    def pulse(self) -> None:
        """Wake everybody who waits for a change."""
        changed, self.changed = self.changed, asyncio.Event()
        changed.set()

    # --- batches of the executor in this process

    def write(self, completions: Sequence[Completion]) -> Mapping[int, str]:
        """Write events to their records; give the new positions of those that have them.

        Runs on the store's thread, just before the transaction is committed.
        """
        events: dict[int, list[bytes]] = {}
        for completion in completions:
            if completion.events:
                events.setdefault(completion.eval_id, []).append(completion.events)
        positions = {}
        for eval_id, chunks in events.items():
            record = self.records.get(eval_id)
            if record is not None and (position := record.write(chunks)) is not None:
                self.written.append(record)
                positions[eval_id] = position
        return positions

    def deliver(self, completions: Sequence[Completion], leases: Sequence[Lease]) -> None:
        """Add up what was committed: completions, and leases taken in the same transaction."""
        for eval_id, leased in collections.Counter(map(_eval_id, leases)).items():
            self.runs[eval_id].in_flight += leased
        by_eval: dict[int, list[Completion]] = {}
        for eval_id, alike in itertools.groupby(completions, _eval_id):
            by_eval.setdefault(eval_id, []).extend(alike)
        for eval_id, group in by_eval.items():
            run = self.runs.get(eval_id)
            if run is None:
                continue
            record = self.records.get(eval_id)
            if record is not None and not record.direct:
                record.poke()
            run.in_flight -= len(group)
            fresh = []
            spent = False
            for c in group:
                if c.usage is not None:
                    run.usage += c.usage
                    spent = True
                if c.outcome in FINAL:
                    assert c.live is not None  # noqa: S101  this process ran it
                    fresh.append(c.live)
                elif c.outcome == "fatal":
                    assert c.error is not None  # noqa: S101  what ended it
                    run.fail(c.error)
                elif c.outcome == "retried":
                    run.retries += 1
            run.add(fresh)
            if spent:
                run.check_budget()
        self.pulse()

    # --- batches of executors elsewhere

    async def collect(self) -> None:
        """Read what executors elsewhere have committed since the last look."""
        async with self._collecting:  # two looks at once would read the same results
            while True:
                rows, batches = await self._store.call(
                    transactions.read_results, self._seq, READ_BATCHES
                )
                for batch in batches:
                    run = self.runs.get(batch.eval_id)
                    if run is not None:
                        await self._read(run, batch)
                    self._seq = batch.seq
                if len(batches) < READ_BATCHES:
                    break
            for row in rows:
                run = self.runs.get(row.id)
                if run is None:
                    continue
                if run.pool != IN_PROCESS:
                    self.records[row.id].poke()
                    run.in_flight, run.retries, run.usage = row.leased, row.retries, row.usage
                    run.check_budget()
                if row.state == EvalState.FAILED and row.error is not None and not run.errors:
                    run.fail(load_failure(row.error))
            self.pulse()

    async def _read(self, run: EvalRun, batch: ResultBatch) -> None:
        # The driver has the tasks it listed, but a retry is a row that the queue made.
        retries = [task_id for task_id, _ in batch.results if task_id not in run.tasks]
        if retries:
            run.take(await self._store.call(transactions.read_tasks, retries))
        run.add([(run.tasks[task_id], load_result(value)) for task_id, value in batch.results])


class DriverSource(TaskSource):
    """The queue, as the executor in the driver sees it: tasks and results pass as objects."""

    in_driver = True

    def __init__(self, store: Store, outbox: Outbox) -> None:
        self._store = store
        self._outbox = outbox

    async def exchange(self, request: ExchangeRequest) -> ExchangeReply:
        outbox = self._outbox
        outbox.written.clear()
        try:
            reply = await self._store.call(transactions.exchange, request, outbox.write)
        except Exception:
            for record in outbox.written:
                record.take_back()
            raise
        completions = request.completions
        if reply.rejected:
            completions = [c for c in completions if c.task_id not in reply.rejected]
        outbox.deliver(completions, reply.leases)
        if not outbox.runs.keys() >= reply.running.keys():  # an earlier run that nobody resumes
            ours = {i: limit for i, limit in reply.running.items() if i in outbox.runs}
            reply = dataclasses.replace(reply, running=ours)
        return reply

    def context(self, eval_id: int) -> contextvars.Context | None:
        return self._outbox.runs[eval_id].context.copy()

    async def load(self, eval_id: int) -> LoadedEval:
        run = self._outbox.runs[eval_id]
        return LoadedEval(run.spec.eval, run.spec.runner, run.encoder, run.task)

    async def fail_eval(self, eval_id: int, error: BaseException) -> None:
        await self._store.call(transactions.fail_eval, eval_id, dump_failure(error))
        run = self._outbox.runs.get(eval_id)
        if run is not None:
            run.fail(error)
