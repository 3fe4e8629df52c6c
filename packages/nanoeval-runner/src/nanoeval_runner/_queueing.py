"""Gets an eval's tasks into the state file, and takes over what an earlier run left there."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from nanoeval_core.task import Task

from nanoeval_runner._engine import Engine
from nanoeval_runner._eval_run import EvalRun, Phase
from nanoeval_runner._payloads import dump_tasks
from nanoeval_runner._queue import transactions
from nanoeval_runner._signals import say
from nanoeval_runner._task_group import task_group

FIRST_ENQUEUED, MOST_ENQUEUED = 1024, 32_768
"""Tasks pickled and queued at a time: small at first, so that writing starts early."""


class Queueing:
    """Queues the tasks of one eval.

    Args:
        by_value: pickle classes that executors elsewhere could not import.
    """

    def __init__(self, engine: Engine, run: EvalRun, *, by_value: bool) -> None:
        self._engine = engine
        self._run = run
        self._by_value = by_value

    async def queue(self, tasks: list[Task] | None, *, resumed: bool) -> None:
        """Take over what an earlier run left, queue what is new, and let executors at it."""
        fresh: Sequence[Task] = tasks or ()
        if resumed:
            fresh = await self._take_over(tasks)
        self._run.total += len(fresh)
        await self._enqueue(fresh)
        self._run.phase = Phase.RUNNING
        if self._run.remaining > 0:
            await self._engine.add(self._run)
        else:
            self._engine.runs[self._run.eval_id] = self._run
            self._run.over.set()

    async def _take_over(self, tasks: list[Task] | None) -> list[Task]:
        """Let executors at what an earlier run left queued, then load what it finished.

        Returns:
            the tasks that the earlier run did not have.
        """
        store, eval_id = self._engine.store, self._run.eval_id
        asked = None if tasks is None else {(t.question_id, t.attempt_id): t for t in tasks}
        queued, newest = await store.call(transactions.list_queued, eval_id)
        dropped = [r.task_id for r in queued if asked is not None and r.identity not in asked]
        if dropped:
            await store.call(transactions.drop_tasks, eval_id, dropped)
            gone = set(dropped)
            queued = [r for r in queued if r.task_id not in gone]
        self._run.resumed(queued, asked)
        self._run.total = len(queued)
        if queued:
            await self._engine.add(self._run)
        known = {r.identity for r in queued}
        position = 0
        while True:
            rows = await store.call(
                transactions.list_final,
                eval_id,
                (position, newest),
                MOST_ENQUEUED,
                payload=asked is None,
            )
            if not rows:
                break
            before = len(self._run.results)
            known |= self._run.already_done(rows, asked)
            self._run.total += len(self._run.results) - before
            position = rows[-1].task_id
        if asked is None:
            return []
        unasked = len(known - asked.keys()) + len(dropped)
        if unasked:
            say(
                f"eval {self._run.name!r}: {unasked} tasks of the earlier run are no longer asked "
                "for; their results are kept and left out of this summary"
            )
        return [task for identity, task in asked.items() if identity not in known]

    async def _enqueue(self, fresh: Sequence[Task]) -> None:
        """Pickle tasks while those before them are being written. None runs before all are in."""
        size, position = FIRST_ENQUEUED, 0
        async with task_group() as group:
            writing: asyncio.Task[None] | None = None
            while position < len(fresh):
                chunk = fresh[position : position + size]
                payloads = dump_tasks(chunk, self._run.name, by_value=self._by_value)
                if writing is not None:
                    await writing
                writing = group.create_task(self._write(chunk, payloads))
                await asyncio.sleep(0)  # let the write start
                position += len(chunk)
                size = min(size * 2, MOST_ENQUEUED)

    async def _write(self, chunk: Sequence[Task], payloads: list[tuple[str, int, bytes]]) -> None:
        # In one step of one task: an executor of a resumed eval may claim them right after.
        self._run.queued(
            chunk, await self._engine.store.call(transactions.enqueue, self._run.eval_id, payloads)
        )
