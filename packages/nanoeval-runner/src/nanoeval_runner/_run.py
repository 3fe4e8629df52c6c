"""`run`: from a spec to a recorded result, top to bottom.

run → engine joined → tasks listed and checked → eval and tasks in the state file
    → executors run them (executors/loop.py) → results and events come back committed
    → summary → recorder's final report → engine left
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import inspect
import logging
import random
import time
from collections.abc import AsyncIterator
from typing import Any

import anyio.to_thread
import chz
from nanoeval_core import pickling
from nanoeval_core.errors import BudgetExceeded, ConfigError, NotPicklableError, StateError
from nanoeval_core.eval import check_complete
from nanoeval_core.library_config import get_library_config
from nanoeval_core.recorder import (
    dummy_recorder,
    set_default_recorder,
)
from nanoeval_core.recorder_adapter import as_transactional
from nanoeval_core.recorder_protocol import (
    BasicRunSpec,
    RecorderConfig,
    new_run_spec,
    using_run_spec,
)
from nanoeval_core.recording import TransactionalRecorder
from nanoeval_core.spec import EvalSpec
from nanoeval_core.task import Task
from nanoeval_core.task_checks import check_tasks

from nanoeval_runner import _origin as origin
from nanoeval_runner import arguments
from nanoeval_runner._engine import Engine
from nanoeval_runner._engine_registry import engines
from nanoeval_runner._eval_run import EvalRun, Phase
from nanoeval_runner._executors import in_process
from nanoeval_runner._executors.engines import check_executor
from nanoeval_runner._failures import wrapped
from nanoeval_runner._monitors import find_monitor
from nanoeval_runner._progress import Progress, announced_if_slow
from nanoeval_runner._queue import transactions
from nanoeval_runner._queue.rows import EvalRow, NewEval
from nanoeval_runner._queue.states import EvalState
from nanoeval_runner._queueing import Queueing
from nanoeval_runner._recording import RecordWriter, opened
from nanoeval_runner._signals import interruption, say
from nanoeval_runner._task_group import task_group
from nanoeval_runner.budget import has_budget, watch_budget
from nanoeval_runner.summary_text import summary_text

log = logging.getLogger("nanoeval.runner")


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
        KeyboardInterrupt: the first Ctrl-C; what finished is kept.
    """
    if not isinstance(spec, EvalSpec):
        raise ConfigError(
            f"run() takes an EvalSpec, got {type(spec).__name__}: "
            "nanoeval.run(EvalSpec(eval=MyEval(…), runner=RunnerArgs(…)))"
        )
    async with joined(spec.runner.run_set_id) as engine:
        return await Session(engine, spec).run()


async def validate(spec: EvalSpec) -> dict[str, Any]:
    """`run`, recording nothing and notifying nobody."""
    runner = chz.replace(
        spec.runner, recorder=dummy_recorder(), enable_slackbot=False, slack_name=None
    )
    return await run(chz.replace(spec, runner=runner))


@contextlib.asynccontextmanager
async def joined(run_set_id: str | None) -> AsyncIterator[Engine]:
    engine = engines.join(run_set_id)
    try:
        await engines.open(engine)
        yield engine
    finally:
        await engines.leave(engine)


@dataclasses.dataclass(frozen=True)
class _Recorded:
    """An eval that is in the state file, and has a recorder."""

    run_spec: BasicRunSpec
    row: EvalRow | None
    recorder: TransactionalRecorder
    eval_run: EvalRun


class Session:
    """One call of `run`: holds what its steps share."""

    def __init__(self, engine: Engine, spec: EvalSpec, stored: EvalRow | None = None) -> None:
        self.engine = engine
        self.spec = spec
        self.stored = stored
        check_executor(spec.runner)
        self._start_monitor = find_monitor() if spec.runner.use_monitor else None
        self.kind = spec.runner.executor_name
        self._by_value = self.kind != in_process.KIND and not origin.main_is_importable()

    async def run(self) -> dict[str, Any]:
        check_complete(self.spec.eval)
        name = self.spec.eval.get_name()
        if not isinstance(name, str) or not name:
            raise ConfigError(
                f"{type(self.spec.eval).__name__}.get_name() must return a text, got {name!r}"
            )
        spec_blob = self._pickle_spec()
        tasks = await self._load_tasks(name)
        async with self.engine.registering:
            run_spec, row = await self._find_eval(name)
            if row is not None:
                self.engine.taken.add(row.id)
        try:
            num_tasks = len(tasks) if tasks is not None else (row.total if row else 0)
            recorder = await self._make_recorder(run_spec, num_tasks)
            with opened(recorder), set_default_recorder(recorder):
                eval_run = await self._register(run_spec, row, recorder, spec_blob)
                if self._start_monitor is not None:
                    await self.engine.monitor.start(self._start_monitor)
                session = _Recorded(run_spec, row, recorder, eval_run)
                return await self._execute(session, tasks)
        finally:
            if row is not None:
                self.engine.taken.discard(row.id)

    # --- before anything runs

    def _pickle_spec(self) -> bytes | None:
        """The spec as executors elsewhere and `resume` get it; None where neither can."""
        name = self.spec.eval.get_name()
        try:
            return pickling.dumps(
                self.spec, what=f"eval {name!r}", by_value=self._by_value, renew_locks=True
            )
        except NotPicklableError:
            if self.kind != in_process.KIND:
                raise
            return None

    async def _load_tasks(self, name: str) -> list[Task] | None:
        """The tasks to run, checked and cut; None to take them from the state file."""
        if self.stored is not None and self.stored.listed:
            return None
        runner = self.spec.runner
        with announced_if_slow(name):
            tasks: list[Task] = check_tasks(await self.spec.eval.get_tasks(), eval_name=name)
        if runner.n_tasks is not None:
            tasks = tasks[: runner.n_tasks]
        if runner.shuffle:
            random.Random(runner.seed).shuffle(tasks)
        return tasks

    async def _find_eval(self, name: str) -> tuple[BasicRunSpec, EvalRow | None]:
        """The ids of this run, and the row of the earlier run that it goes on with."""
        row = self.stored or await self._earlier_run(name)
        run_spec = new_run_spec(
            run_set_id=self.engine.run_set_id,
            eval_name=name,
            model_name=self.spec.runner.model_name,
        )
        if row is not None:
            run_spec = BasicRunSpec(
                run_id=row.run_id,
                run_set_id=self.engine.run_set_id,
                eval_name=name,
                model_name=row.model_name,
                created_at=run_spec.created_at,
            )
        return run_spec, row

    async def _earlier_run(self, name: str) -> EvalRow | None:
        if self.spec.runner.run_set_id is None:
            return None  # a name of its own: nothing to go on with
        described = arguments.describe_arguments(self.spec.eval)
        rows = [
            row
            for row in await self.engine.store.call(transactions.list_evals)
            if row.name == name and row.id not in self.engine.taken | self.engine.runs.keys()
        ]
        for row in rows:
            if row.arguments == described:
                return row
        # Evals of one name and several configurations may well be run together.
        rows = [row for row in rows if row.id not in self.engine.created]
        if not rows:
            return None
        changed = "\n  ".join(arguments.changes(rows[-1].arguments, described))
        if not self.spec.runner.accept_changed_spec:
            raise StateError(
                f"run set {self.engine.run_set_id!r} holds eval {name!r} with other arguments, so "
                f"its finished results do not compare:\n  {changed}\nUse another run_set_id for a "
                "run of its own, or RunnerArgs.accept_changed_spec=True to go on all the same"
            )
        say(f"eval {name!r} goes on with changed arguments:\n  {changed}")
        return rows[-1]

    async def _make_recorder(self, run_spec: BasicRunSpec, num_tasks: int) -> TransactionalRecorder:
        config: RecorderConfig = (
            self.spec.runner.recorder or get_library_config().get_default_recorder()
        )
        runner = chz.replace(self.spec.runner, run_set_id=self.engine.run_set_id)
        with using_run_spec(run_spec):
            recorder = await config.factory(chz.replace(self.spec, runner=runner), num_tasks)
        return as_transactional(recorder)

    async def _register(
        self,
        run_spec: BasicRunSpec,
        row: EvalRow | None,
        recorder: TransactionalRecorder,
        spec_blob: bytes | None,
    ) -> EvalRun:
        encoder = recorder.encoder()
        new = NewEval(
            name=run_spec.eval_name,
            run_id=run_spec.run_id,
            pool=self.kind,
            concurrency=self.spec.runner.concurrency,
            model_name=self.spec.runner.model_name,
            arguments=arguments.describe_arguments(self.spec.eval),
            # Who resumes an eval did not define it.
            origin=self.stored.origin if self.stored else origin.describe_origin(),
            spec=spec_blob,
            encoder=pickling.dumps(encoder, what="the recorder's encoder"),
        )
        store = self.engine.store
        if row is None:
            eval_id = await store.call(transactions.add_eval, new, time.time())
            self.engine.created.add(eval_id)
            self.engine.taken.add(eval_id)
        else:
            eval_id = row.id
            await store.call(transactions.reopen_eval, eval_id, new)
        eval_run = EvalRun(self.spec, eval_id, self.kind, encoder)
        eval_run.elapsed_before = row.elapsed if row is not None else 0.0
        return eval_run

    # --- running

    async def _execute(self, recorded: _Recorded, tasks: list[Task] | None) -> dict[str, Any]:
        engine, eval_run = self.engine, recorded.eval_run
        recorder = recorded.recorder
        in_driver = self.kind == in_process.KIND
        writer = RecordWriter(engine.store, eval_run.eval_id, recorder, in_driver=in_driver)
        engine.source.writers[eval_run.eval_id] = writer
        eval_run.on_events = writer.poke
        if recorded.row is not None:
            with writer.guarded():
                await anyio.to_thread.run_sync(recorder.rewind, recorded.row.record_position)
        progress = Progress(eval_run, engine, recorder)
        await self._notify(f"{eval_run.name}: started ({recorded.run_spec.run_id})")
        try:
            async with task_group() as group:
                writing = group.create_task(writer.serve())
                beside = [group.create_task(progress.serve())]
                if has_budget(self.spec.runner):
                    beside.append(group.create_task(watch_budget(eval_run, engine)))
                try:
                    await Queueing(engine, eval_run, by_value=self._by_value).queue(
                        tasks, resumed=recorded.row is not None
                    )
                    await eval_run.over.wait()
                    await self._wind_down(eval_run)
                finally:
                    for helper in beside:
                        helper.cancel()
                    writer.finish()
                await asyncio.wait([writing])
            return await self._conclude(recorded, writer, progress)
        except BaseException:
            await self._give_back(eval_run)
            raise
        finally:
            eval_run.phase = Phase.OVER
            engine.forget(eval_run)
            engine.taken.discard(eval_run.eval_id)
            del engine.source.writers[eval_run.eval_id]
            progress.close()

    async def _wind_down(self, eval_run: EvalRun) -> None:
        """Leave nothing of the eval in flight, and its context in this process."""
        if eval_run.errors:
            await self.engine.release(eval_run)
        elif eval_run.remaining > 0:
            await self.engine.drain(eval_run, self.spec.runner.shutdown_grace)
        await self.engine.remove(eval_run)
        await self.engine.store.call(
            transactions.set_elapsed, [(eval_run.elapsed, eval_run.eval_id)]
        )

    # --- the end

    async def _conclude(
        self,
        recorded: _Recorded,
        writer: RecordWriter,
        progress: Progress,
    ) -> dict[str, Any]:
        eval_run = recorded.eval_run
        eval_run.phase = Phase.SUMMING_UP
        store = self.engine.store
        if eval_run.errors:
            await self._notify(f"{eval_run.name}: failed")
            await self._note_failure(eval_run)
            raise self._failure(eval_run)
        complete = eval_run.remaining <= 0
        summary = progress.with_interval(await self._summary(eval_run, recorded.run_spec))
        if not complete:
            await self._stop_early(eval_run, summary, progress)
        with writer.guarded():
            await anyio.to_thread.run_sync(recorded.recorder.record_final_report, summary)
        await store.call(
            transactions.finish_eval,
            eval_run.eval_id,
            EvalState.DONE,
            summary_text(summary),
            eval_run.elapsed,
        )
        progress.finish(summary)
        await self._notify(f"{eval_run.name}: finished", summary_text(summary))
        if self.engine.interrupted is not None:
            # What was in flight was all that was left. What the script would do next is not.
            await self.engine.settle()
            raise interruption(self.engine.interrupted, f"eval {eval_run.name!r} is finished")
        return summary

    async def _summary(self, eval_run: EvalRun, run_spec: BasicRunSpec) -> dict[str, Any]:
        try:
            summary = dict(await self.spec.eval.get_full_summary(eval_run.results))
        except Exception as error:
            error.add_note(
                f"while eval {eval_run.name!r} summed up its results. All "
                f"{len(eval_run.results)} of them are kept: mend get_summary, then sum up again. "
                f"{self.engine.resume_hint()}"
            )
            await self._note_failure(eval_run)
            raise
        row = await self.engine.store.call(transactions.get_eval, eval_run.eval_id)
        if row.usage.requests or row.usage.cache_hits:
            summary.setdefault("usage", _usage(row))
        return {**summary, "run_id": run_spec.run_id, "run_set_id": run_spec.run_set_id}

    async def _stop_early(
        self, eval_run: EvalRun, summary: dict[str, Any], progress: Progress
    ) -> None:
        """Write the summary of what is there, then end the run as interrupted or over budget."""
        engine = self.engine
        await engine.store.call(
            transactions.finish_eval,
            eval_run.eval_id,
            EvalState.STOPPED,
            summary_text({**summary, "partial": True}),
            eval_run.elapsed,
        )
        progress.finish({**summary, "partial": True})
        message = (
            f"eval {eval_run.name!r} stopped with {len(eval_run.results)} of {eval_run.total} "
            f"tasks done. {engine.resume_hint()}"
        )
        await self._notify(message)
        if engine.interrupted is not None:
            say(message)
            await engine.settle()
            raise interruption(engine.interrupted, message)
        if eval_run.over_budget is not None:
            message = (
                f"{eval_run.over_budget}: {message}, and budget_tokens=… or budget_cost=… "
                "with a larger budget"
            )
        raise BudgetExceeded(message)

    async def _note_failure(self, eval_run: EvalRun) -> None:
        """Have the state file say `failed`: while its tasks were given back it was `stopped`."""
        with contextlib.suppress(StateError):  # where the file is what failed
            id, store = eval_run.eval_id, self.engine.store
            summary = (await store.call(transactions.get_eval, id)).summary
            await store.call(
                transactions.finish_eval, id, EvalState.FAILED, summary, eval_run.elapsed
            )

    def _failure(self, eval_run: EvalRun) -> BaseException:
        state_errors = [e for e in eval_run.errors if isinstance(e, StateError)]
        if state_errors:
            return state_errors[0]
        message = (
            f"eval {eval_run.name!r} ended by an exception after {len(eval_run.results)} of "
            f"{eval_run.total} tasks; finished results are kept. {self.engine.resume_hint()}"
        )
        errors = [e if isinstance(e, Exception) else wrapped(e) for e in eval_run.errors]
        return ExceptionGroup(message, errors)

    async def _give_back(self, eval_run: EvalRun) -> None:
        """However the run ended, its tasks go back to the queue and its context is left."""
        if self.engine.failure is not None or eval_run.phase is Phase.OVER:
            return
        if self.engine.runs.get(eval_run.eval_id) is eval_run:
            await self.engine.release(eval_run)
            await self.engine.remove(eval_run)

    async def _notify(self, message: str, extra: str | None = None) -> None:
        log.info("%s", message, extra={} if extra is None else {"summary": extra})
        if self.spec.runner.enable_slackbot:
            if self.spec.runner.slack_name is not None:
                message = f"@{self.spec.runner.slack_name} {message}"
            try:
                sent: Any = get_library_config().send_user_notification(message, extra)
                if inspect.isawaitable(sent):  # a plain function will do as well
                    await sent
            except Exception:
                log.exception("the notification %r could not be sent", message)


def _usage(row: EvalRow) -> dict[str, float]:
    usage = row.usage
    found = {name: getattr(usage, name) for name in usage.__slots__}
    return {name: value for name, value in found.items() if value}
