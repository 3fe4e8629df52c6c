"""Going on with an earlier run: which one it is, and what it left in the state file."""

from __future__ import annotations

from nanoeval_core.errors import StateError
from nanoeval_core.spec import EvalSpec
from nanoeval_core.task import Task

from nanoeval_runner._eval_run import EvalRun, task_of_row
from nanoeval_runner._interrupts import say
from nanoeval_runner._payloads import load_result
from nanoeval_runner._queue import transactions
from nanoeval_runner._queue.rows import EvalRow
from nanoeval_runner._run_set import RunSet
from nanoeval_runner.stored_eval import changes

MOST_READ = 32_768
"""Results read at a time."""


async def earlier_run(run_set: RunSet, spec: EvalSpec, name: str, described: str) -> EvalRow | None:
    """Return the row of an earlier run of the eval in this run set, to go on with.

    Raises:
        StateError: it had other arguments than those `described`.
    """
    rows = [
        row
        for row in await run_set.store.call(transactions.list_evals)
        if row.name == name and row.id not in run_set.claimed_evals
    ]
    for row in rows:
        if row.arguments == described:
            return row
    # Evals of one name and several configurations may well be run together.
    rows = [row for row in rows if row.id not in run_set.created]
    if not rows:
        return None
    changed = "\n  ".join(changes(rows[-1].arguments, described))
    if not spec.runner.accept_changed_spec:
        raise StateError(
            f"run set {run_set.run_set_id!r} holds eval {name!r} with other arguments, so "
            f"its finished results do not compare:\n  {changed}\nUse another run_set_id for a "
            "run of its own, or RunnerArgs.accept_changed_spec=True to go on all the same"
        )
    say(f"eval {name!r} goes on with changed arguments:\n  {changed}")
    return rows[-1]


async def take_over(run_set: RunSet, run: EvalRun, tasks: list[Task] | None) -> list[Task]:
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
        queued = [r for r in queued if asked is None or r.identity in asked]
    run.take(queued, asked)
    run.total = len(queued)
    if queued:
        await run_set.start(run)  # they need not wait for what is loaded here
    known = {r.identity for r in queued}
    position = 0
    while True:
        rows = await store.call(
            transactions.list_final, eval_id, (position, newest), MOST_READ, payload=asked is None
        )
        if not rows:
            break
        final = [
            (task_of_row(r, asked), load_result(r.value or b""))
            for r in rows
            if r.task_id not in run.tasks and (asked is None or r.identity in asked)
        ]
        run.total += len(final)
        run.add(final)
        known |= {r.identity for r in rows}
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
