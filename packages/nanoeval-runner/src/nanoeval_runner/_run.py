"""`run`: from a spec to a recorded result, top to bottom.

run → run set joined → tasks listed and checked → eval and tasks in the state file
    → executors run them (_executors/loop.py) → batches come back committed (_outbox.py)
    → summary → recorder's final report → run set left
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import inspect
import logging
import pickle
import random
import time
import traceback
from collections.abc import Iterator, Sequence
from typing import Any

import chz
from nanoeval_core import pickling
from nanoeval_core.errors import BudgetExceeded, ConfigError, NotPicklableError, StateError
from nanoeval_core.eval import check_complete, check_tasks
from nanoeval_core.executors import IN_PROCESS, MULTIPROCESS
from nanoeval_core.json_values import json_text
from nanoeval_core.library_config import get_library_config
from nanoeval_core.recorder import dummy_recorder
from nanoeval_core.recorder_adapter import as_transactional
from nanoeval_core.recorder_protocol import (
    BasicRunSpec,
    RecorderConfig,
    new_run_spec,
    using_run_spec,
)
from nanoeval_core.recording import TransactionalRecorder
from nanoeval_core.recording import recorder as current_recorder
from nanoeval_core.spec import EvalSpec
from nanoeval_core.task import Task

from nanoeval_runner._display.board import choose_surface
from nanoeval_runner._earlier_run import earlier_run, take_over
from nanoeval_runner._eval_run import EvalRun, RecordWriter
from nanoeval_runner._failures import wrapped
from nanoeval_runner._interrupts import Interrupted, say
from nanoeval_runner._monitors import find_monitor
from nanoeval_runner._payloads import check_text, dump_tasks
from nanoeval_runner._progress import Progress
from nanoeval_runner._queue import transactions
from nanoeval_runner._queue.rows import EvalRow, NewEval, NewTask
from nanoeval_runner._queue.states import EvalState
from nanoeval_runner._run_set import RunSet, engine_config, joined
from nanoeval_runner.stored_eval import (
    describe_arguments,
    describe_origin,
    main_is_importable,
    model_in,
)

log = logging.getLogger("nanoeval.runner")

SLOW_SECONDS = 2.0
FIRST_ENQUEUED, MOST_ENQUEUED = 1024, 32_768
"""Tasks pickled and queued at a time: small at first, so that writing starts early."""


async def run(spec: EvalSpec) -> dict[str, Any]:
    """Run an eval and return its summary, with `run_id` and `run_set_id`.

    Stands alone: it may be called under `asyncio.run`, in a test, in a notebook, and several
    times at once with `asyncio.gather`, sharing one state file and one pool of executors.

    Raises:
        ConfigError: bad input; nothing ran.
        ExceptionGroup: `evaluate` (or the eval's context) raised something other than a
            `RolloutSystemError`. Its leaves are the exceptions themselves, each with a note that
            names eval, task, attempt and executor. What finished is kept, and its message ends
            with the command that resumes.
        StateError: the state file cannot be used or written.
        BudgetExceeded: `budget_tokens` or `budget_cost` is spent; what finished is kept.
        CancelledError: the run was cancelled, or a signal stopped it (then `asyncio.run` raises
            KeyboardInterrupt, or SystemExit after SIGTERM); what finished is kept.
    """
    if not isinstance(spec, EvalSpec):
        raise ConfigError(
            f"run() takes an EvalSpec, got {type(spec).__name__}: "
            "nanoeval.run(EvalSpec(eval=MyEval(…), runner=RunnerArgs(…)))"
        )
    async with joined(spec.runner.run_set_id) as run_set:
        return await run_in(run_set, spec)


async def validate(spec: EvalSpec) -> dict[str, Any]:
    """Run an eval like `run`, recording nothing and notifying nobody."""
    runner = chz.replace(
        spec.runner, recorder=dummy_recorder(), enable_slackbot=False, slack_name=None
    )
    return await run(chz.replace(spec, runner=runner))


async def run_in(run_set: RunSet, spec: EvalSpec, stored: EvalRow | None = None) -> dict[str, Any]:
    """Run an eval in a run set that was joined.

    Args:
        stored: the row to go on with, where `resume` runs it.
    """
    task = asyncio.current_task()
    run_set.drivers[task] = None  # signals reach it, from before it has a run
    try:
        return await _run_driven(run_set, spec, stored)
    except asyncio.CancelledError:
        if run_set.signals.number is None or run_set.executors.is_killed or task is None:
            raise
        # Cancelled by the signal, while there was nothing to let finish.
        task.uncancel()
        message = "interrupted before any task ran"
        if run_set.resumed or run_set.created:
            message = f"interrupted. {run_set.resume_hint}"
        say(message)
        raise Interrupted(message) from None
    finally:
        del run_set.drivers[task]


async def _run_driven(run_set: RunSet, spec: EvalSpec, stored: EvalRow | None) -> dict[str, Any]:
    name = spec.eval.get_name()
    if not isinstance(name, str) or not name:
        raise ConfigError(f"{type(spec.eval).__name__}.get_name() must return a text, got {name!r}")
    check_text(name, "the eval's name (get_name)")
    check_text(spec.runner.model_name or "", "runner.model_name")
    check_complete(spec.eval)
    if spec.runner.executor_name not in (IN_PROCESS, MULTIPROCESS):
        engine_config(spec.runner)  # told now if it is not installed
    start_monitor = find_monitor() if spec.runner.use_monitor else None
    by_value = spec.runner.executor_name != IN_PROCESS and not main_is_importable()
    tasks = None
    if stored is None or not stored.listed:
        tasks = await _list_tasks(spec, name)
    pickled, copy = _pickle_spec(spec, name, by_value)
    described = describe_arguments(spec.eval)
    async with run_set.registering:
        row = stored
        if row is None and spec.runner.run_set_id is not None:  # else nothing was there before
            row = await earlier_run(run_set, spec, name, described)
        if row is not None:
            run_set.claimed_evals.add(row.id)
    try:
        run_spec = new_run_spec(
            run_set_id=run_set.run_set_id, eval_name=name, model_name=spec.runner.model_name
        )
        if row is not None:
            run_spec = dataclasses.replace(run_spec, run_id=row.run_id, model_name=row.model_name)
        num_tasks = len(tasks) if tasks is not None else (row.total if row else 0)
        recorder = await _make_recorder(run_spec, spec, num_tasks)
        encoder = recorder.encoder()
        run_id = row.run_id if row is not None else recorder.run_spec.run_id
        new = NewEval(
            name=name,
            run_id=run_id,
            pool=spec.runner.executor_name,
            concurrency=spec.runner.concurrency,
            model_name=spec.runner.model_name,
            arguments=described,
            origin=stored.origin if stored else describe_origin(),  # what resumes did not define it
            spec=pickled,
            encoder=pickling.dumps(encoder, what="the recorder's encoder"),
        )
        token = current_recorder.set(recorder)
        try:
            if row is not None:
                eval_id = row.id
                await run_set.store.call(transactions.reopen_eval, eval_id, new)
            else:
                eval_id = await run_set.store.call(transactions.add_eval, new, time.time())
                run_set.claimed_evals.add(eval_id)
            run = EvalRun(
                spec=copy,
                name=name,
                eval_id=eval_id,
                run_id=run_id,
                run_set_id=run_set.run_set_id,
                row=row,
                model=spec.runner.model_name or model_in(described),
                by_value=by_value,
                record=RecordWriter(run_set.store, eval_id, recorder),
                encoder=encoder,
            )
            run_set.drivers[asyncio.current_task()] = run
            run_set.grace = max(run_set.grace, spec.runner.shutdown_grace)
            if start_monitor is not None:
                await run_set.start_monitor(start_monitor)
            return await _execute(run_set, run, tasks)
        finally:
            current_recorder.reset(token)
    finally:
        if row is not None:
            run_set.claimed_evals.discard(row.id)


# --- before anything runs


async def _list_tasks(spec: EvalSpec, name: str) -> list[Task]:
    """Return the tasks to run: checked, cut and shuffled."""
    runner = spec.runner
    with _said_when_slow(f"eval {name!r}: listing its tasks"):
        tasks: list[Task] = check_tasks(await spec.eval.get_tasks(), eval_name=name)
    if runner.n_tasks is not None:
        tasks = tasks[: runner.n_tasks]
    if runner.shuffle:
        random.Random(runner.seed).shuffle(tasks)
    return tasks


@contextlib.contextmanager
def _said_when_slow(text: str) -> Iterator[None]:
    """Say what is being waited for, where the block takes long."""
    loop = asyncio.get_running_loop()
    slow = loop.call_later(SLOW_SECONDS, lambda: choose_surface().say(text))
    try:
        yield
    finally:
        slow.cancel()


def _pickle_spec(spec: EvalSpec, name: str, by_value: bool) -> tuple[bytes | None, EvalSpec]:
    """Return the spec pickled, and a copy of it to run."""
    try:
        pickled = pickling.dumps(spec, what=f"eval {name!r}", by_value=by_value, renew_locks=True)
    except NotPicklableError:
        if spec.runner.executor_name != IN_PROCESS:
            raise
        return None, spec
    try:
        # By reference alone: a class of a function would come back as another class, with copies
        # of all that its methods see.
        copy = pickle.loads(pickle.dumps(spec.eval, pickle.HIGHEST_PROTOCOL))
    except Exception:  # noqa: BLE001  it runs as it is
        return pickled, spec
    return pickled, chz.replace(spec, eval=copy)


async def _make_recorder(
    run_spec: BasicRunSpec, spec: EvalSpec, num_tasks: int
) -> TransactionalRecorder:
    config: RecorderConfig = spec.runner.recorder or get_library_config().get_default_recorder()
    runner = chz.replace(spec.runner, run_set_id=run_spec.run_set_id)
    with using_run_spec(run_spec):
        recorder = await config.factory(chz.replace(spec, runner=runner), num_tasks)
    return recorder if isinstance(recorder, TransactionalRecorder) else as_transactional(recorder)


# --- running


async def _execute(run_set: RunSet, run: EvalRun, tasks: list[Task] | None) -> dict[str, Any]:
    row = run.row
    position = row.record_position if row is not None else None
    async with run.record.opened(position, in_driver=run.pool == IN_PROCESS):
        if row is None:
            run_set.created.add(run.eval_id)  # until here, it may be refused
        progress = Progress(run, run_set)
        try:
            await _notify(run, "started", run_set.resume_hint)
            await _evaluate_all(run_set, run, progress, tasks)
            return await _finish(run_set, run, progress)
        except BaseException as error:
            if not isinstance(error, Interrupted) and not run.errors:
                with contextlib.suppress(Exception):  # what is raised already matters more
                    await _notify(run, "failed", "", _traceback(error))
            raise
        finally:
            run_set.outbox.runs.pop(run.eval_id, None)
            run_set.claimed_evals.discard(run.eval_id)
            progress.close()


async def _queue_tasks(run_set: RunSet, run: EvalRun, tasks: list[Task] | None) -> None:
    """Take over what an earlier run left, queue what is new, and let executors at it.

    Args:
        tasks: the tasks as they are now; None to take them from the state file.
    """
    fresh: Sequence[Task] = tasks or ()
    if run.row is not None:
        fresh = await take_over(run_set, run, tasks)
    run.total += len(fresh)

    async def write(chunk: Sequence[Task], payloads: list[NewTask]) -> None:
        # In one step of one task: an executor of a resumed eval may claim them right after.
        first_id = await run_set.store.call(transactions.enqueue, run.eval_id, payloads)
        run.tasks.update(enumerate(chunk, first_id))

    # Pickled while those before them are being written.
    size, position = FIRST_ENQUEUED, 0
    writing: asyncio.Task[None] | None = None
    try:
        while position < len(fresh):
            chunk = fresh[position : position + size]
            payloads = dump_tasks(chunk, run.name, by_value=run.by_value)
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
        run.finished.set()


async def _evaluate_all(
    run_set: RunSet, run: EvalRun, progress: Progress, tasks: list[Task] | None
) -> None:
    """Have all tasks evaluated, or as many as there is time for; then leave nothing in flight."""
    showing = asyncio.create_task(progress.serve(), name="progress")
    showing.add_done_callback(lambda task: run.finished.set())
    try:
        await _queue_tasks(run_set, run, tasks)
        await run.finished.wait()
        if run.errors:
            await run_set.requeue(run)
        elif run.remaining > 0:
            await run_set.requeue(run, run.spec.runner.shutdown_grace)
        await run_set.executors.leave(run)
        await run.record.finish()
        if showing.done():
            showing.result()  # Eval.update_progress failed: that ends the run
    except BaseException:
        # However it ended, its tasks go back to the queue and its context is left.
        if run_set.failure is None:
            await run_set.to_its_end(run_set.stop(run))
        raise
    finally:
        showing.cancel()
        await asyncio.wait([showing])
    if not run.errors:
        await progress.last_update()


# --- the end


async def _finish(run_set: RunSet, run: EvalRun, progress: Progress) -> dict[str, Any]:
    """Sum up, record and store the summary; raise what ended the eval, if it is not complete."""
    run.is_running = False
    if run.errors:
        error = _failure(run_set, run)
        await _note_failure(run_set, run)
        await _notify(run, "failed", "", _traceback(error))
        raise error
    report = await _sum_up(run_set, run)
    summary = {**report, "run_id": run.run_id, "run_set_id": run_set.run_set_id}
    is_done = run.remaining <= 0
    if is_done:
        await run.record.report(report)
    else:
        summary["partial"] = True
    text = json_text(summary)
    state = EvalState.DONE if is_done else EvalState.STOPPED
    await run_set.store.call(transactions.finish_eval, run.eval_id, state, text, run.elapsed)
    progress.finish(summary)
    if is_done:
        await _notify(run, "complete", "", text)
        if run_set.signals.number is not None:
            # What was in flight was all that was left. What the script would do next is not.
            raise Interrupted(f"eval {run.name!r} is finished")
        return summary
    message = (
        f"eval {run.name!r} stopped with {len(run.results)} of {run.total} "
        f"tasks done. {run_set.resume_hint}"
    )
    await _notify(run, "stopped", message)
    if run.over_budget:
        raise BudgetExceeded(
            f"{run.over_budget}: {message}, and budget_tokens=… or budget_cost=… "
            "with a larger budget"
        )
    say(message)
    raise Interrupted(message)


async def _sum_up(run_set: RunSet, run: EvalRun) -> dict[str, Any]:
    try:
        with _said_when_slow(f"eval {run.name!r}: summing up {len(run.results):,} results"):
            summary = await run.sum_up()
    except Exception as error:
        error.add_note(
            f"while eval {run.name!r} summed up its results. All "
            f"{len(run.results)} of them are kept: mend get_summary, then sum up again. "
            f"{run_set.resume_hint}"
        )
        await _note_failure(run_set, run)
        raise
    if run.usage.requests or run.usage.cache_hits:
        usage = {name: n for name in run.usage.__slots__ if (n := getattr(run.usage, name))}
        summary.setdefault("usage", usage)
    if "accuracy" in summary and "accuracy_stderr" not in summary:
        run.tally.catch_up(run.results, all_of_them=True)
        summary = run.tally.with_interval(summary)
    return summary


async def _note_failure(run_set: RunSet, run: EvalRun) -> None:
    """Have the state file say `failed`: while its tasks were requeued it was `stopped`."""
    with contextlib.suppress(StateError):  # where the file is what failed
        row = await run_set.store.call(transactions.get_eval, run.eval_id)
        await run_set.store.call(
            transactions.finish_eval, run.eval_id, EvalState.FAILED, row.summary, run.elapsed
        )


def _failure(run_set: RunSet, run: EvalRun) -> BaseException:
    """Return what `run` raises for an eval that could not go on."""
    for error in run.errors:
        if isinstance(error, StateError):
            return error
    message = (
        f"eval {run.name!r} ended by an exception after {len(run.results)} of {run.total} tasks"
    )
    # A wrong argument, told before anything ran, has nothing to go on with; a result does.
    wrong = [
        isinstance(e, ConfigError) and not isinstance(e, NotPicklableError) for e in run.errors
    ]
    if run.results or not all(wrong):
        message += f"; finished results are kept. {run_set.resume_hint}"
    errors = [e if isinstance(e, Exception) else wrapped(e) for e in run.errors]
    return ExceptionGroup(message, errors)


async def _notify(run: EvalRun, what: str, more: str = "", extra: str | None = None) -> None:
    """Tell the user by `LibraryConfig.send_user_notification`. What that raises ends the run."""
    runner = run.spec.runner
    model = f", model {runner.model_name}" if runner.model_name else ""
    message = (
        f"{run.name}: {what} (run {run.run_id} of run set {run.run_set_id}{model}, "
        f"{run.elapsed:.0f} s). {more}"
    ).rstrip()
    log.info("%s", message, extra={} if extra is None else {"summary": extra})
    if runner.enable_slackbot:
        if runner.slack_name is not None:
            message = f"@{runner.slack_name} {message}"
        sending = get_library_config().send_user_notification(message, extra)
        if inspect.isawaitable(sending):  # it was a plain method once, and may still be one
            await sending


def _traceback(error: BaseException) -> str:
    return f"```\n{''.join(traceback.format_exception(error))}```"
