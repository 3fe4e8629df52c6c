"""An eval's tasks on their way into the state file, and what an earlier run left there."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence

from nanoeval_core.eval import check_tasks
from nanoeval_core.spec import EvalSpec
from nanoeval_core.task import Task

from nanoeval_runner._eval_run import EvalRun
from nanoeval_runner._interrupts import say
from nanoeval_runner._payloads import dump_tasks
from nanoeval_runner._queue import transactions
from nanoeval_runner._queue.rows import NewTask
from nanoeval_runner._run_set import RunSet

FIRST_ENQUEUED, MOST_ENQUEUED = 1024, 32_768
"""Tasks pickled and queued at a time: small at first, so that writing starts early."""


async def list_tasks(spec: EvalSpec, name: str) -> list[Task]:
    """Return the tasks to run: checked, cut and shuffled."""
    runner = spec.runner
    tasks: list[Task] = check_tasks(await spec.eval.get_tasks(), eval_name=name)
    if runner.n_tasks is not None:
        tasks = tasks[: runner.n_tasks]
    if runner.shuffle:
        random.Random(runner.seed).shuffle(tasks)
    return tasks


async def queue_tasks(
    run_set: RunSet,
    run: EvalRun,
    tasks: list[Task] | None,
    *,
    resumed: bool,
    by_value: bool,
) -> None:
    """Take over what an earlier run left, queue what is new, and let executors at it.

    Args:
        tasks: the tasks as they are now; None to take them from the state file.
        by_value: pickle classes that executors elsewhere could not import.
    """
    fresh: Sequence[Task] = tasks or ()
    if resumed:
        fresh = await _take_over(run_set, run, tasks)
    run.total += len(fresh)

    async def write(chunk: Sequence[Task], payloads: list[NewTask]) -> None:
        # In one step of one task: an executor of a resumed eval may claim them right after.
        run.queued(chunk, await run_set.store.call(transactions.enqueue, run.eval_id, payloads))

    # Pickled while those before them are being written.
    size, position = FIRST_ENQUEUED, 0
    writing: asyncio.Task[None] | None = None
    try:
        while position < len(fresh):
            chunk = fresh[position : position + size]
            payloads = dump_tasks(chunk, run.name, by_value=by_value)
            if writing is not None:
                await writing
            writing = asyncio.create_task(write(chunk, payloads))
            await asyncio.sleep(0)  # let the write start
            position += len(chunk)
            size = min(size * 2, MOST_ENQUEUED)
        if writing is not None:
            await writing
    finally:
        if writing is not None and not writing.done():
            writing.cancel()
    run.is_running = True
    if run.remaining > 0:
        await run_set.start(run)
    else:
        run_set.outbox.runs[run.eval_id] = run
        run.over.set()


async def _take_over(run_set: RunSet, run: EvalRun, tasks: list[Task] | None) -> list[Task]:
    """Let executors at what an earlier run left queued, then load what it finished.

    Returns:
        the tasks that the earlier run did not have.
    """
    store, eval_id = run_set.store, run.eval_id
    asked = None if tasks is None else {(t.question_id, t.attempt_id): t for t in tasks}
    queued, newest = await store.call(transactions.list_queued, eval_id)
    dropped = [r.task_id for r in queued if asked is not None and r.identity not in asked]
    if dropped:
        await store.call(transactions.drop_tasks, eval_id, dropped)
        gone = set(dropped)
        queued = [r for r in queued if r.task_id not in gone]
    run.requeued(queued, asked)
    run.total = len(queued)
    if queued:
        await run_set.start(run)  # they need not wait for what is loaded here
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
        known |= run.take_over(rows, asked)
        position = rows[-1].task_id
    if asked is None:
        return []
    unasked = len(known - asked.keys()) + len(dropped)
    if unasked:
        say(
            f"eval {run.name!r}: {unasked} tasks of the earlier run are no longer asked "
            "for; their results are kept and left out of this summary"
        )
    return [task for identity, task in asked.items() if identity not in known]
