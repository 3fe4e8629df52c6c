"""Where a committed batch goes: to the record first, then to the totals, then to those who wait."""

from __future__ import annotations

import asyncio
import contextvars
import dataclasses
from collections.abc import Mapping, Sequence

from nanoeval_core.executors import IN_PROCESS

from nanoeval_runner._eval_run import EvalRun, RecordWriter
from nanoeval_runner._executors.source import LoadedEval, TaskSource
from nanoeval_runner._failures import dump_failure, load_failure
from nanoeval_runner._payloads import load_result
from nanoeval_runner._queue import transactions
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

READ_BATCHES = 64


class Outbox:
    """Tells the runs of a run set what was committed, by the executor here and by those elsewhere.

    Attributes:
        runs: the evals being run now, by id.
        changed: set, and replaced, whenever something was committed.
        written: the records that the transaction going on has written to.
    """

    def __init__(self, store: Store) -> None:
        self.runs: dict[int, EvalRun] = {}
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
            run = self.runs.get(eval_id)
            if run is not None and (position := run.record.write(chunks)) is not None:
                self.written.append(run.record)
                positions[eval_id] = position
        return positions

    def deliver(self, completions: Sequence[Completion], leases: Sequence[Lease]) -> None:
        """Add up what was committed: completions, and leases taken in the same transaction."""
        for lease in leases:
            self.runs[lease.eval_id].in_flight += 1
        by_eval: dict[int, list[Completion]] = {}
        for c in completions:
            by_eval.setdefault(c.eval_id, []).append(c)
        for eval_id, group in by_eval.items():
            run = self.runs.get(eval_id)
            if run is None:
                continue
            if not run.record.direct:
                run.record.poke()
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
                    run.record.poke()
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
        return LoadedEval(run.spec, run.encoder, run.task)

    async def fail_eval(self, eval_id: int, error: BaseException) -> None:
        await self._store.call(transactions.fail_eval, eval_id, dump_failure(error))
        run = self._outbox.runs.get(eval_id)
        if run is not None:
            run.fail(error)
