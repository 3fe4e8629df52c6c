"""`resume`: go on with a run set from its state file, or from that file's backup."""

from __future__ import annotations

import asyncio
import json
import pickle
from typing import Any

import anyio.to_thread
from nanoeval_core.errors import ConfigError, StateError
from nanoeval_core.recorder_protocol import check_run_set_id
from nanoeval_core.spec import EvalSpec

from nanoeval_runner._interrupts import Interrupted
from nanoeval_runner._queue import backup, transactions
from nanoeval_runner._queue.paths import state_file, state_paths
from nanoeval_runner._queue.rows import EvalRow
from nanoeval_runner._queue.states import EvalState
from nanoeval_runner._run import run_in
from nanoeval_runner._run_set import RunSet, joined, run_sets
from nanoeval_runner.budget import with_budget
from nanoeval_runner.stored_eval import restore_origin


async def resume(
    run_set_id: str,
    *,
    resume_completed_evals: bool = False,
    budget_tokens: int | None = None,
    budget_cost: float | None = None,
) -> list[dict[str, Any]]:
    """Finish every eval of a run set, and its record; only tasks without a committed result run.

    Args:
        run_set_id: names the state file, or its backup where the file itself is gone.
        resume_completed_evals: also recompute the summaries of evals that are complete, from
            their stored results.
        budget_tokens: instead of the one that the evals were run with.
        budget_cost: instead of the one that the evals were run with.

    Returns:
        the summaries of all its evals, in the order they were first run.

    Raises:
        StateError: there is no such run set, it is being run, or an eval in it cannot be loaded
            (the message says what can still be done).
        ExceptionGroup: as `run` raises it.
    """
    await anyio.to_thread.run_sync(_require, run_set_id)
    async with joined(run_set_id) as run_set:
        rows = await run_set.store.call(transactions.list_evals)
        if not rows:
            raise StateError(
                f"run set {run_set_id!r} holds no evals: it ended before its tasks were queued. "
                "Run the eval again"
            )
        specs = {
            row.id: with_budget(await _load_spec(run_set, row), budget_tokens, budget_cost)
            for row in rows
            if row.state != EvalState.DONE or row.unrecorded or resume_completed_evals
        }
        summaries = {row.id: json.loads(row.summary or "{}") for row in rows}
        errors: list[Exception] = []

        async def finish(row: EvalRow) -> None:
            try:
                summaries[row.id] = await run_in(run_set, specs[row.id], stored=row)
            except Exception as error:  # noqa: BLE001  raised below; the other evals go on
                errors.append(error)

        async with asyncio.TaskGroup() as group:
            for row in rows:
                if row.id in specs:
                    group.create_task(finish(row))
        interrupted = [error for error in errors if isinstance(error, Interrupted)]
        if interrupted:
            raise interrupted[0]
        if len(errors) == 1:
            raise errors[0]
        if errors:
            raise ExceptionGroup(f"{len(errors)} evals of run set {run_set_id!r} failed", errors)
        return [summaries[row.id] for row in rows]


async def run_eval_in_database(run_id: str, *, run_set_id: str | None = None) -> dict[str, Any]:
    """Finish one eval, named by its `run_id`, and return its summary, without the `run_id`.

    Args:
        run_set_id: whose run it is; by default one that `global_exit_stack` holds open.

    Raises:
        ConfigError: there is no such run.
        StateError: as `resume` raises it.
    """
    if run_set_id is not None:
        await anyio.to_thread.run_sync(_require, run_set_id)
    held = []
    open_ids = [each.key for each in run_sets().run_sets if each.closed is None]
    for name in open_ids if run_set_id is None else [run_set_id]:
        async with joined(name) as run_set:
            for row in await run_set.store.call(transactions.list_evals):
                held.append(f"{row.run_id} ({row.name}, {row.state})")
                if row.run_id == run_id:
                    spec = await _load_spec(run_set, row)
                    summary = await run_in(run_set, spec, stored=row)
                    return {k: v for k, v in summary.items() if k not in ("run_id", "run_set_id")}
    where = f"known are {', '.join(held)}"
    if not held:
        where = "no run set is open here: give the run_set_id=… of the run"
        if run_set_id is not None:
            where = f"run set {run_set_id!r} holds none"
    raise ConfigError(f"there is no run {run_id!r}: {where}")


def _require(run_set_id: str) -> None:
    check_run_set_id(run_set_id)
    path = state_file(run_set_id)
    if path.exists() or backup.restore(path):
        return
    known = ", ".join(path.stem for path in state_paths()[:5]) or "none"
    raise StateError(
        f"there is no run set {run_set_id!r}: no {path}, and no backup of it. "
        f"The newest that can be resumed: {known}"
    )


async def _load_spec(run_set: RunSet, row: EvalRow) -> EvalSpec:
    blob = (await run_set.store.call(transactions.get_eval_spec, row.id)).spec
    if blob is None:
        raise StateError(
            f"eval {row.name!r} of run set {run_set.run_set_id!r} could not be pickled when it was "
            "run, so only its own script can go on with it: run that again with "
            f"run_set_id={run_set.run_set_id}"
        )
    restore_origin(row.origin)
    try:
        spec: EvalSpec = pickle.loads(blob)
    except Exception as error:
        raise StateError(
            f"eval {row.name!r} of run set {run_set.run_set_id!r} cannot be loaded "
            f"({type(error).__name__}: {error}): its code has moved or changed. Restore it, or run "
            f"its script again with run_set_id={run_set.run_set_id}; {row.done} finished results "
            f"stay readable in table `task` of {run_set.path}"
        ) from error
    return spec
