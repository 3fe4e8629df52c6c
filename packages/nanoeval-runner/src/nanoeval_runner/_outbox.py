"""Where a committed batch goes: to the record first, then to the totals, then to those who wait."""

from __future__ import annotations

import asyncio
import contextvars
import dataclasses
from collections.abc import Mapping, Sequence

from nanoeval_core.executors import IN_PROCESS

from nanoeval_runner._eval_run import EvalRun, task_of_row
from nanoeval_runner._executors.source import LoadedEval
from nanoeval_runner._failures import dump_failure, load_failure
from nanoeval_runner._payloads import load_result
from nanoeval_runner._queue import transactions
from nanoeval_runner._queue.rows import (
    Completion,
    ExchangeReply,
    ExchangeRequest,
    Lease,
    ResultBatch,
)
from nanoeval_runner._queue.states import EvalState
from nanoeval_runner._queue.store import Store
from nanoeval_runner._record_writer import RecordWriter

READ_BATCHES = 64


class Outbox:
    """Tells the runs of a run set what was committed, by the executor here and by those elsewhere.

    Attributes:
        runs: the evals being run now, by id.
        records: their records' writers.
        changed: set, and replaced, whenever something was committed.
    """

    def __init__(self, store: Store) -> None:
        self.runs: dict[int, EvalRun] = {}
        self.records: dict[int, RecordWriter] = {}
        self.changed = asyncio.Event()
        self._store = store
        self._seq = 0

    async def start(self) -> None:
        """Leave alone what was committed before."""
        self._seq = await self._store.call(transactions.last_result_seq)

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
            position = record.write(chunks) if record is not None else None
            if position is not None:
                positions[eval_id] = position
        return positions

    def settle(self, *, committed: bool) -> None:
        """Note that the transaction of the last `write` is over."""
        for record in self.records.values():
            record.settle(committed=committed)

    def deliver(self, completions: Sequence[Completion], leases: Sequence[Lease]) -> None:
        """Add up what was committed: completions, and leases taken in the same transaction."""
        for lease in leases:
            self.runs[lease.eval_id].in_flight += 1
        by_eval: dict[int, list[Completion]] = {}
        for completion in completions:
            by_eval.setdefault(completion.eval_id, []).append(completion)
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
                if c.outcome == "fatal":
                    assert c.error is not None  # noqa: S101  what ended it
                    run.fail(c.error)
                elif c.is_final:
                    assert c.live is not None  # noqa: S101  this process ran it
                    fresh.append(c.live)
                elif c.outcome == "error":
                    run.retries += 1
            run.add(fresh)
            if spent:
                run.check_budget()
        self.pulse()

    # --- batches of executors elsewhere

    async def collect(self) -> None:
        """Read what executors elsewhere have committed since the last look."""
        rows = await self._store.call(transactions.list_evals)
        while True:
            batches = await self._store.call(transactions.read_results, self._seq, READ_BATCHES)
            for batch in batches:
                self._seq = batch.seq
                run = self.runs.get(batch.eval_id)
                if run is not None:
                    self._read(run, batch)
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
            if row.state == EvalState.FAILED and not run.errors:
                error = await self._store.call(transactions.get_eval_error, row.id)
                if error is not None:
                    run.fail(load_failure(error))
        self.pulse()

    def _read(self, run: EvalRun, batch: ResultBatch) -> None:
        fresh = []
        for row in batch.results:
            assert row.value is not None  # noqa: S101  results have one
            task = run.known(row.task_id) or task_of_row(row, None)
            fresh.append((task, load_result(row.value)))
        run.add(fresh)


class DriverSource:
    """The queue, as the executor in the driver sees it: tasks and results pass as objects."""

    in_driver = True

    def __init__(self, store: Store, outbox: Outbox) -> None:
        self._store = store
        self._outbox = outbox

    async def exchange(self, request: ExchangeRequest) -> ExchangeReply:
        try:
            reply = await self._store.exchange(request, self._outbox.write)
        except Exception:
            self._outbox.settle(committed=False)
            raise
        self._outbox.settle(committed=True)
        completions = request.completions
        if reply.rejected:
            completions = [c for c in completions if c.task_id not in reply.rejected]
        self._outbox.deliver(completions, reply.leases)
        runs = self._outbox.runs
        if not runs.keys() >= reply.running.keys():  # of an earlier run that nobody resumes
            ours = {i: limit for i, limit in reply.running.items() if i in runs}
            reply = dataclasses.replace(reply, running=ours)
        return reply

    def context(self, eval_id: int) -> contextvars.Context | None:
        return self._outbox.runs[eval_id].context.copy()

    async def load(self, eval_id: int) -> LoadedEval:
        run = self._outbox.runs[eval_id]
        return LoadedEval(run.spec, run.encoder, run.task)

    async def fail_eval(self, eval_id: int, error: BaseException) -> None:
        await self._store.fail_eval(eval_id, dump_failure(error))
        run = self._outbox.runs.get(eval_id)
        if run is not None:
            run.fail(error)

    def opened(self, eval_id: int) -> None:
        """`ExecutorLoop.leave` waits for it."""

    def left(self, eval_id: int) -> None:
        """`ExecutorLoop.leave` waits for it."""
